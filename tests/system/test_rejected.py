"""`headcount rejected`: the newest first, and a whole kind of them published again after the mistake is corrected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from google.pubsub_v1 import SubscriberClient

from daemon.local.pubsub.control import Control
from tests.system.commands import Session, typed


@pytest.fixture
def environment(provisioned: dict[str, str], pubsub: str) -> dict[str, str]:
    """Seven rejected messages: 1 to 5 of one reason, 6 and 7 of another."""
    for number in range(1, 8):
        keep(provisioned, "BadUuid" if number <= 5 else "NoJobName", f"m{number}")
    return provisioned


def keep(environment: dict[str, str], reason: str, message: str, attributes: str = "{}") -> None:
    with psycopg.connect(environment["HEADCOUNT_DATABASE_URL"]) as database:
        database.execute(
            "INSERT INTO rejected_message (message_id, reason, text, data, attributes) VALUES (%s, %s, 'x', %s, %s)",
            (message, reason, message.encode(), attributes),
        )


def listed(environment: dict[str, str], *options: str) -> list[dict[str, Any]]:
    shown = typed("rejected", "list", "--json", *options, environment=environment)
    return [json.loads(line) for line in shown.stdout.splitlines()]


def replayed(environment: dict[str, str]) -> set[int]:
    return {one["id"] for one in listed(environment) if one["replayed_at"]}


def arrived(environment: dict[str, str]) -> list[str]:
    """What stands in the subscription of the workers, taken out of it."""
    path = f"projects/{environment['HEADCOUNT_PROJECT']}/subscriptions/jobs-worker"
    bodies = []
    with SubscriberClient() as client:
        while got := client.pull(subscription=path, max_messages=100, return_immediately=True).received_messages:
            bodies += [one.message.data.decode() for one in got]
            client.acknowledge(subscription=path, ack_ids=[one.ack_id for one in got])
    return sorted(bodies)


def test_the_newest_rejected_messages_are_listed_first_and_their_pages_go_backwards(
    environment: dict[str, str],
) -> None:
    assert [one["id"] for one in listed(environment, "--limit", "3")] == [1, 2, 3]
    newest = listed(environment, "--newest", "--limit", "3")
    assert [one["id"] for one in newest] == [7, 6, 5]
    assert [one["id"] for one in listed(environment, "--newest", "--limit", "3", "--after", "5")] == [4, 3, 2]
    assert [one["id"] for one in listed(environment, "--newest", "--reason", "BadUuid", "--limit", "2")] == [5, 4]


def test_a_whole_reason_is_replayed_after_a_question_and_marked(environment: dict[str, str]) -> None:
    declined = typed("rejected", "replay", "--reason", "BadUuid", environment=environment, given="n\n", code=1)
    assert "5 messages" in declined.stdout + declined.stderr
    assert (replayed(environment), arrived(environment)) == (set(), [])
    typed("rejected", "replay", "--reason", "BadUuid", environment=environment, given="y\n")
    assert replayed(environment) == {1, 2, 3, 4, 5}
    assert arrived(environment) == ["m1", "m2", "m3", "m4", "m5"]
    again = typed("rejected", "replay", "--reason", "BadUuid", "--yes", environment=environment)
    assert "nothing to replay" in again.stderr
    assert arrived(environment) == []


def test_a_program_says_yes_and_gets_counts_and_without_it_nothing_is_published(environment: dict[str, str]) -> None:
    refused = typed("rejected", "replay", "--all", "--json", environment=environment, code=2)
    assert "--yes" in refused.stderr
    assert arrived(environment) == []
    preview = typed("rejected", "replay", "--all", "--dry-run", "--json", environment=environment)
    assert json.loads(preview.stdout) == {"messages": 7, "reasons": {"BadUuid": 5, "NoJobName": 2}}
    assert arrived(environment) == []
    done = typed("rejected", "replay", "--all", "--yes", "--json", environment=environment)
    assert json.loads(done.stdout) == {"replayed": 7, "failed": []}
    assert arrived(environment) == [f"m{number}" for number in range(1, 8)]


def test_what_is_rejected_while_the_question_stands_is_not_replayed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    session = Session(
        ["rejected", "replay", "--reason", "BadUuid"], environment, tmp_path, tmp_path / "log", given=True
    )
    try:
        session.until_said("5 messages")
        keep(environment, "BadUuid", "late")
        session.answer("y\n")
        assert session.child.wait(20) == 0, session.said
    finally:
        session.end()
    assert arrived(environment) == ["m1", "m2", "m3", "m4", "m5"]
    assert [one["id"] for one in listed(environment, "--reason", "BadUuid") if not one["replayed_at"]] == [8]


def test_one_message_that_pubsub_refuses_is_named_and_holds_up_no_other(environment: dict[str, str]) -> None:
    keep(environment, "BadUuid", "bad", json.dumps({"x" * 300: "Pub/Sub takes attribute keys of 256 bytes"}))
    done = typed("rejected", "replay", "--reason", "BadUuid", "--yes", "--json", environment=environment, code=1)
    answer = json.loads(done.stdout)
    assert (answer["replayed"], [one["id"] for one in answer["failed"]]) == (5, [8])
    assert replayed(environment) == {1, 2, 3, 4, 5}
    assert arrived(environment) == ["m1", "m2", "m3", "m4", "m5"]


def test_a_replay_that_pubsub_does_not_take_says_so_and_goes_on_where_it_stopped(
    environment: dict[str, str], pubsub_server: str
) -> None:
    topic = f"projects/{environment['HEADCOUNT_PROJECT']}/topics/jobs"
    with Control(pubsub_server) as control:
        control.deny("pubsub.topics.publish", resource=topic)
        failed = typed("rejected", "replay", "--all", "--yes", environment=environment, code=1)
        assert "refused" in failed.stderr
        assert "headcount rejected replay --all" in failed.stderr
        assert replayed(environment) == set()
        control.allow("pubsub.topics.publish", resource=topic)
    typed("rejected", "replay", "--all", "--yes", environment=environment)
    assert len(replayed(environment)) == 7


def test_a_number_a_reason_or_all_is_asked_for_and_never_two_of_them(environment: dict[str, str]) -> None:
    for words in ((), ("--all", "--reason", "BadUuid"), ("3", "--all")):
        assert "one of" in typed("rejected", "replay", *words, environment=environment, code=2).stderr
    typed("rejected", "replay", "999", environment=environment, code=3)
