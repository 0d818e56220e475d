"""What has to exist is made, and everything that is not as wanted is named with the command that fixes it."""

import pytest
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.types import Subscription

from daemon.errors import RequestRefused, SubscriptionNotReady
from daemon.local.pubsub.control import Control
from daemon.pubsub.drift import problems_of
from daemon.pubsub.resources import (
    DesiredResources,
    Problem,
    check,
    desired,
    filter_for,
    filter_of,
    filtered_names,
    provision,
)
from daemon.settings import load

GOOD = {
    "ack_deadline_seconds": 60,
    "message_retention_duration": {"seconds": 7 * 86_400},
    "expiration_policy": {},
    "retry_policy": {"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 600}},
}


@pytest.fixture
def want(project: str, pubsub: str) -> DesiredResources:
    return desired(load({}, project=project, database_url="postgresql://nobody@nowhere/none"))


@pytest.fixture
async def service(want: DesiredResources) -> SubscriberAsyncClient:
    """Everything provisioned but the jobs subscription, for a test to make its own."""
    without = DesiredResources(want.topics, want.subscriptions[:1])
    await provision(without)
    return SubscriberAsyncClient()


def jobs(want: DesiredResources, **terms: object) -> Subscription:
    """The jobs subscription as wanted, but for `terms`."""
    one = want.subscriptions[1]
    letters = {"dead_letter_topic": one.dead_letter_topic, "max_delivery_attempts": 100}
    return Subscription({"name": one.name, "topic": one.topic, **GOOD, "dead_letter_policy": letters, **terms})


async def test_provision_makes_everything_and_then_there_is_no_problem(want: DesiredResources) -> None:
    lines = await provision(want)
    assert len(lines) == 5
    assert all(line.startswith("created ") for line in lines)
    assert await check(want, longest_timeout=3600, handler_names=["x"]) == []


async def test_provision_a_second_time_changes_nothing(want: DesiredResources) -> None:
    await provision(want)
    lines = await provision(want)
    assert len(lines) == 5
    assert all(line.startswith("exists ") for line in lines)


async def test_provision_tells_differences_and_leaves_them(
    want: DesiredResources, service: SubscriberAsyncClient
) -> None:
    await service.create_subscription(jobs(want, ack_deadline_seconds=10))
    (line,) = [line for line in await provision(want) if line.startswith("differs ")]
    assert "The ack deadline of the subscription" in line
    assert "gcloud pubsub subscriptions update jobs-worker" in line
    have = await service.get_subscription(subscription=want.subscriptions[1].name)
    assert have.ack_deadline_seconds == 10


async def test_a_project_with_nothing_in_it_is_told_piece_by_piece(want: DesiredResources) -> None:
    problems = await check(want)
    fatal = [problem.what for problem in problems if problem.fatal]
    assert len(fatal) == 3
    assert fatal[0].endswith("/topics/jobs does not exist.")
    assert fatal[1].endswith("/topics/job-events does not exist.")
    assert fatal[2].endswith("/subscriptions/jobs-worker does not exist.")
    assert {problem.fix for problem in problems} == {"headcount provision"}
    assert [problem.fatal for problem in problems] == sorted([problem.fatal for problem in problems], reverse=True)


async def test_a_subscription_of_another_topic_is_fatal(want: DesiredResources, service: SubscriberAsyncClient) -> None:
    other = want.topics[1].name
    await service.create_subscription(jobs(want, topic=other))
    (problem,) = await check(want)
    assert problem.fatal
    assert f"attached to {other}, not to {want.topics[0].name}" in problem.what
    assert problem.fix.startswith("HEADCOUNT_JOBS_SUBSCRIPTION=jobs-worker-2 headcount provision"), "none is deleted"


async def test_a_subscription_whose_topic_was_deleted_is_fatal(want: DesiredResources) -> None:
    await provision(want)
    await PublisherAsyncClient().delete_topic(topic=want.topics[0].name)
    whats = [problem.what for problem in await check(want) if problem.fatal]
    assert any("does not exist" in what for what in whats)
    assert any("The topic of the subscription" in what and "was deleted" in what for what in whats)


async def test_a_missing_permission_is_fatal_and_tells_the_role(want: DesiredResources, control: Control) -> None:
    await provision(want)
    subscription, topic = want.subscriptions[1].name, want.topics[1].name
    control.deny("pubsub.subscriptions.consume", resource=subscription)
    control.deny("pubsub.topics.publish", resource=topic)
    problems = await check(want)
    control.allow("pubsub.subscriptions.consume", resource=subscription)
    control.allow("pubsub.topics.publish", resource=topic)
    assert [problem.fatal for problem in problems] == [True, True]
    assert "--role=roles/pubsub.publisher" in problems[0].fix
    assert "--role=roles/pubsub.subscriber" in problems[1].fix


async def test_dead_letters_without_a_subscription_are_told(want: DesiredResources) -> None:
    await provision(DesiredResources(want.topics, want.subscriptions[1:]))
    whats = [problem.what for problem in await check(want)]
    assert len(whats) == 2
    assert whats[0].endswith("jobs-dead-worker does not exist.")
    assert whats[1].endswith("jobs-dead has no subscription.")
    assert not any(problem.fatal for problem in await check(want))


async def test_an_unreachable_service_is_one_sentence(want: DesiredResources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setattr("daemon.pubsub.resources._RETRY", None)
    with pytest.raises(SubscriptionNotReady, match="can't be reached"):
        await check(want)


async def test_a_pool_has_a_filter_and_only_its_jobs_arrive(project: str, pubsub: str) -> None:
    settings = load({}, project=project, database_url="postgresql://nobody@nowhere/none")
    want = desired(settings, names=["resize", 'odd "name"'])
    await provision(want)
    text = await filter_of(want.subscriptions[1].name)
    assert filtered_names(text) == ["resize", 'odd "name"']
    assert await check(want, handler_names=["resize", 'odd "name"', "more"]) == []
    (problem,) = await check(want, handler_names=["resize"])
    assert problem.fatal
    assert 'without a handler here: odd "name".' in problem.what


@pytest.mark.parametrize(
    ("terms", "what", "fix"),
    [
        (
            {"expiration_policy": {"ttl": {"seconds": 31 * 86_400}}},
            "expires after 31 days",
            "--expiration-period=never",
        ),
        ({"expiration_policy": None}, "expires after 31 days", "--expiration-period=never"),
        (
            {"message_retention_duration": {"seconds": 600}},
            "keeps messages for 600 s",
            "--message-retention-duration=7d",
        ),
        ({"ack_deadline_seconds": 10}, "ack deadline", "--ack-deadline=60"),
        ({"retry_policy": None}, "no retry policy", "--min-retry-delay=1s --max-retry-delay=600s"),
        ({"retry_policy": {"minimum_backoff": {"seconds": 10}}}, "waits 10 s", "--min-retry-delay=1s"),
        ({"dead_letter_policy": None}, "go to nowhere", "--max-delivery-attempts=100"),
        ({"enable_exactly_once_delivery": True}, "exactly-once", "--no-enable-exactly-once-delivery"),
        ({"enable_message_ordering": True}, "orders messages", "JOBS_SUBSCRIPTION=jobs-worker-2 headcount provision"),
    ],
)
def test_terms_that_jobs_do_not_bear_are_told(
    want: DesiredResources, terms: dict[str, object], what: str, fix: str
) -> None:
    (problem,) = problems_of(jobs(want, **terms), want.subscriptions[1])
    assert not problem.fatal
    assert what in problem.what
    assert fix in problem.fix


def test_too_few_delivery_attempts_are_told(want: DesiredResources) -> None:
    letters = {"dead_letter_topic": want.subscriptions[1].dead_letter_topic, "max_delivery_attempts": 5}
    (problem,) = problems_of(jobs(want, dead_letter_policy=letters), want.subscriptions[1])
    assert "gives up after 5 deliveries" in problem.what


def test_a_retention_below_the_longest_timeout_is_told(want: DesiredResources) -> None:
    (problem,) = problems_of(jobs(want), want.subscriptions[1], longest_timeout=10 * 86_400)
    assert "--message-retention-duration=10d" in problem.fix


@pytest.mark.parametrize(
    "terms",
    [
        {"push_config": {"push_endpoint": "https://example.com/push"}},
        {"bigquery_config": {"table": "a.b.c"}},
        {"detached": True},
    ],
)
def test_a_subscription_that_can_not_be_pulled_is_fatal(want: DesiredResources, terms: dict[str, object]) -> None:
    problems: list[Problem] = list(problems_of(jobs(want, **terms), want.subscriptions[1]))
    assert [problem.fatal for problem in problems] == [True]


def test_filters_are_read_only_where_they_say_nothing_but_names() -> None:
    assert filtered_names('attributes.job_name = "a"') == ["a"]
    assert filtered_names('(attributes.job_name="a" OR attributes.job_name="b")') == ["a", "b"]
    assert filtered_names("") is None
    assert filtered_names('NOT attributes.job_name = "a"') is None
    assert filtered_names('attributes.job_name != "a"') is None
    assert filtered_names('attributes.job_name = "a" AND attributes.size = "big"') is None
    assert filtered_names('hasPrefix(attributes.job_name, "a")') is None


def test_a_filter_that_the_service_would_not_take_is_refused() -> None:
    with pytest.raises(RequestRefused, match="256"):
        filter_for([f"some-quite-long-name-{number}" for number in range(10)])
