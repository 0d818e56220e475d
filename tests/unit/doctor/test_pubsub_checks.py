"""What a topic's filters let through, who may forward dead letters, and what a repair changes."""

import pytest
from google.pubsub_v1.types import Subscription

from daemon.doctor.finding import Severity
from daemon.doctor.pubsub import grant_command, is_agent, unmatched
from daemon.pubsub.drift import SubscriptionSpec, problems_of
from daemon.pubsub.repair import changes

OWN, OTHER = "projects/p/subscriptions/own", "projects/p/subscriptions/other"
AGENT = "serviceAccount:service-12345@gcp-sa-pubsub.iam.gserviceaccount.com"
WANT = SubscriptionSpec("projects/p/subscriptions/s", "projects/p/topics/t", "projects/p/topics/dead")


def names(*values: str) -> str:
    return " OR ".join(f'attributes.job_name = "{value}"' for value in values)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({OWN: ""}, []),
        ({OWN: names("a"), OTHER: ""}, [(Severity.ADVICE, "b")]),
        ({OWN: names("a", "b")}, []),
        ({OWN: names("a")}, [(Severity.LOSES_WORK, "b")]),
        ({OWN: names("a"), OTHER: names("b")}, [(Severity.ADVICE, "b")]),
        ({OWN: names("a"), OTHER: 'hasPrefix(attributes.job_name, "b")'}, []),
    ],
)
def test_a_job_that_no_filter_lets_through_is_lost(filters: dict[str, str], found: list[tuple[Severity, str]]) -> None:
    findings = list(unmatched(filters, OWN, ["a", "b"]))
    assert [(finding.severity, finding.what.rstrip(".").rsplit(": ", 1)[1]) for finding in findings] == found


def test_only_pubsubs_own_account_with_a_fitting_role_may_forward() -> None:
    assert is_agent({"roles/pubsub.publisher": [AGENT]}, "publisher")
    assert is_agent({"roles/pubsub.editor": ["user:a@b.c", AGENT]}, "subscriber")
    assert not is_agent({"roles/pubsub.subscriber": [AGENT]}, "publisher")
    assert not is_agent({"roles/pubsub.publisher": [AGENT.replace("gcp-sa-pubsub", "gcp-sa-other")]}, "publisher")
    assert not is_agent({}, "publisher")


def test_the_grant_finds_the_project_s_number_by_itself() -> None:
    command = grant_command("topics", "projects/p/topics/dead", "publisher")
    assert "$(gcloud projects describe p --format='value(projectNumber)')" in command
    assert command.endswith("--role=roles/pubsub.publisher")


def test_a_repair_fixes_everything_that_is_called_repairable() -> None:
    terms: dict[str, object] = {"name": WANT.name, "topic": WANT.topic, "enable_exactly_once_delivery": True}
    bad = Subscription(terms)
    fields = changes(bad, WANT)
    fixed = Subscription({**terms, **fields})
    assert all(problem.repairable for problem in problems_of(bad, WANT))
    assert list(problems_of(fixed, WANT)) == []
    assert changes(fixed, WANT) == {}


def test_the_dead_letters_own_subscription_gets_no_policy_of_its_own() -> None:
    dead = SubscriptionSpec("projects/p/subscriptions/d", "projects/p/topics/dead")
    assert set(changes(Subscription({"name": dead.name, "topic": dead.topic}), dead)) == {
        "expiration_policy",
        "message_retention_duration",
        "ack_deadline_seconds",
    }


def test_what_can_not_be_changed_is_not_called_repairable() -> None:
    other = Subscription({"name": WANT.name, "topic": "projects/p/topics/x", "enable_message_ordering": True})
    left = [problem.what for problem in problems_of(other, WANT) if not problem.repairable]
    assert len(left) == 2
