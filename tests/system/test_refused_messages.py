"""Messages that Pub/Sub refuses: they hold up no other, and are named by what an operator looks at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess
from tests.system.commands import asked, typed

TOO_LONG = "x" * 1_025  # an attribute has at most 1024 bytes
PUBLISHED = "SELECT event_published_at FROM orchestration WHERE id = %s"


@pytest.fixture
def rows(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def completed(rows: psycopg.Connection, tags: dict[str, str], age: int) -> UUID:
    """An orchestration that completed so many seconds ago; its event is due."""
    made = uuid4()
    rows.execute(
        "INSERT INTO orchestration (id, job_name, total, tags, completed_at, outcome, created_at)"
        " VALUES (%s, 'count', 0, %s, now() - make_interval(secs => %s), 'Completed', now() - interval '1 hour')",
        [made, json.dumps(tags), age],
    )
    return made


def is_true(rows: psycopg.Connection, statement: str, *values: object) -> bool:
    row = rows.execute(statement.encode(), values).fetchone()
    return row is not None and bool(row[0])


async def test_an_event_that_pubsub_refuses_holds_up_no_other_event(
    provisioned: dict[str, str], rows: psycopg.Connection, tmp_path: Path
) -> None:
    bad = [completed(rows, {"tag": TOO_LONG}, age=100 - number) for number in range(3)]
    good = [completed(rows, {"tag": "short"}, age=50 - number) for number in range(20)]
    async with WorkerProcess(provisioned, tmp_path, handlers_in=tmp_path) as worker:
        for one in good:
            await until(lambda one=one: is_true(rows, PUBLISHED, one), within=10, what="a healthy event is published")
        await worker.until_logged("Pub/Sub refused a message")
        assert all(str(one) in worker.log for one in bad)
        assert not any(str(one) in worker.log for one in good)
    assert not any(is_true(rows, PUBLISHED, one) for one in bad)
    assert is_true(rows, "SELECT bool_and(event_refusals > 0) FROM orchestration WHERE tags->>'tag' <> 'short'")


async def test_a_job_message_that_pubsub_refuses_holds_up_no_other_and_explain_names_it(
    provisioned: dict[str, str], rows: psycopg.Connection, tmp_path: Path
) -> None:
    orchestration, bad, good = uuid4(), uuid4(), uuid4()
    rows.execute("INSERT INTO orchestration (id, job_name, total) VALUES (%s, 'count', 2)", [orchestration])
    for index, (job_id, name) in enumerate(((bad, TOO_LONG), (good, "count"))):
        rows.execute(
            "INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at)"
            " VALUES (%s, %s, %s, %s, '{}', now() - make_interval(secs => 10 - %s))",
            [job_id, orchestration, index, name, index],
        )
    async with WorkerProcess(provisioned, tmp_path, handlers_in=tmp_path) as worker:
        taken = "SELECT attempt > 0 FROM job WHERE id = %s"  # its handler is unknown here, which is an attempt
        await until(lambda: is_true(rows, taken, good), within=10, what="the healthy job's message came")
        await worker.until_logged("Pub/Sub refused a message")
        assert str(bad) in worker.log
        assert is_true(rows, "SELECT publish_at > now() FROM job WHERE id = %s", bad)
        found = asked("explain", str(bad), "--json", environment=provisioned)
        assert found["verdict"]["verdict"] == "MESSAGE_REFUSED"


async def test_an_event_that_was_refused_ten_times_is_given_up_explained_and_sent_again_by_republish(
    provisioned: dict[str, str], rows: psycopg.Connection, tmp_path: Path
) -> None:
    one = completed(rows, {"tag": TOO_LONG}, age=100)
    rows.execute("UPDATE orchestration SET event_refusals = 9 WHERE id = %s", [one])
    async with WorkerProcess(provisioned, tmp_path, handlers_in=tmp_path) as worker:
        refused = "SELECT event_refused IS NOT NULL FROM orchestration WHERE id = %s"
        await until(lambda: is_true(rows, refused, one), within=10, what="the event is given up")
        found = asked("explain", str(one), "--json", environment=provisioned)
        assert [verdict["verdict"] for verdict in found["verdicts"]] == ["EVENT_REFUSED"]
        assert "1024" in found["orchestration"]["event_refused"]
        shown = typed("explain", str(one), environment=provisioned).stdout
        assert f"headcount republish {one}" in " ".join(shown.split())
        assert typed("verify", environment=provisioned).returncode == 0

        def counted() -> bool:
            return 'headcount_events_refused{pool="default"} 1.0' in worker.body_of("/metrics")

        await until(counted, within=15, what="the metric counts it")
        rows.execute("UPDATE orchestration SET tags = '{}' WHERE id = %s", [one])  # its cause is taken away
        assert asked("republish", str(one), "--json", environment=provisioned) == {"republished": 1}
        await until(lambda: is_true(rows, PUBLISHED, one), within=10, what="the event is published")
        await until(lambda: 'headcount_events_refused{pool="default"} 0.0' in worker.body_of("/metrics"), within=15)
