"""Jobs that are ended while they run or before they came: by timeouts, drains, cancels, deadlines and retries.

Real workers, the local Pub/Sub and Postgres. What a handler itself wrote down says when it ran.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from daemon.client import Client
from daemon.job import JobMessage
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.resources import desired, provision
from daemon.rules.messages import encode, instance_id
from daemon.settings import Settings, load
from tests.harness.needs import everything_is_required
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment

BARE = 20_000
BATCH = 250
GIANT = 1_000_000 if everything_is_required() else 100_000
PROMPT_SECONDS = 3.0
Span = tuple[int, int, float, float | None]


@pytest.fixture
async def environment(database_url: str, project: str, pubsub: str) -> dict[str, str]:
    made = worker_environment(
        database_url, project, pubsub, handlers="tests.system.deaf_jobs", slots=20, drain_seconds=1
    )
    await provision(desired(load(made)))
    return made


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(environment)) as opened:
        yield opened


def spans(diary: Path) -> list[Span]:
    """(attempt, process, begin, end) of every run, by the wall clock; `end` is None while it runs or if cut."""
    found: dict[tuple[int, int], tuple[float, float | None]] = {}
    for line in diary.read_text().splitlines() if diary.exists() else []:
        what, attempt, process, moment = line.split()
        key = (int(attempt), int(process))
        found[key] = (float(moment), None) if what == "begin" else (found[key][0], float(moment))
    return [(attempt, process, *times) for (attempt, process), times in sorted(found.items())]


@pytest.mark.long
async def test_a_plain_handler_beyond_its_timeout_is_not_run_again_before_it_has_ended(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    async with WorkerProcess(environment, tmp_path), WorkerProcess(environment, tmp_path):
        orchestration = await client.kick_off("deaf_and_late", [{"seconds": 7, "diary": str(diary)}])
        async with asyncio.timeout(60):
            await orchestration.wait()
        (outcome,) = await client.outcomes(orchestration.id)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.failures) == ("TimedOut", 2)
    (_, _, _, first_end), (_, _, second_begin, _) = spans(diary)
    assert first_end is not None
    assert second_begin >= first_end


async def test_a_thread_that_outlasts_a_drain_is_not_run_elsewhere_before_its_process_has_ended(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    async with WorkerProcess(environment, tmp_path) as first:
        await client.kick_off("deaf", [{"seconds": 600, "diary": str(diary)}])
        await until(lambda: len(spans(diary)) == 1, within=20, what="the handler runs")
        async with WorkerProcess(environment, tmp_path):
            first.terminate()
            await until(lambda: first.exit_code is not None, within=15, what="the first worker has ended")
            ended_before = time.time()
            assert first.exit_code == 0
            await until(lambda: len(spans(diary)) == 2, within=30, what="the second worker runs it")
    assert spans(diary)[1][2] >= ended_before - 0.1, "polling saw the end a little late"


@pytest.mark.long
async def test_a_cancelled_and_retried_job_runs_again_only_when_its_handler_has_ended(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    async with WorkerProcess(environment, tmp_path), WorkerProcess(environment, tmp_path):
        orchestration = await client.kick_off("deaf", [{"seconds": 6, "diary": str(diary)}])
        await until(lambda: len(spans(diary)) == 1, within=20, what="the handler runs")
        assert await orchestration.cancel() == 1
        await until(lambda: _retried(client, orchestration.id), within=10, what="the event is published")
        assert spans(diary)[0][3] is None, "it was retried while its handler ran"
        async with asyncio.timeout(60):
            successes, failures = await orchestration.results()
    assert (len(successes), failures) == (1, None)
    (_, _, _, first_end), (_, _, second_begin, _) = spans(diary)
    assert first_end is not None
    assert second_begin >= first_end


async def _retried(client: Client, orchestration: UUID) -> bool:
    if (await client.state(orchestration)).event_published_at is None:
        return False
    return await client.retry_failed(orchestration) > 0


def _bare(orchestration: UUID, index: int, count: int) -> JobMessage:
    job_id = instance_id(orchestration, index)
    return JobMessage("at_once", job_id, orchestration, index, count, "{}")


@pytest.mark.long
async def test_every_bare_message_ends_although_its_orchestration_is_cancelled_and_retried_while_they_are_published(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    settings, orchestration, retried = load(environment), uuid4(), asyncio.Event()
    more = {**environment, "HEADCOUNT_SLOTS": "100"}
    async with WorkerProcess(more, tmp_path), WorkerProcess(more, tmp_path):
        publishing = asyncio.create_task(_publish(settings, orchestration, retried))
        await until(lambda: _ended(client, orchestration, 100), within=30, what="a hundred have ended")
        assert await client.cancel(orchestration) > 0
        await until(lambda: _retried(client, orchestration), within=60, what="the event is published")
        retried.set()
        await publishing
        await until(lambda: _ended(client, orchestration, BARE), within=120, what="all have ended")
    state = await client.state(orchestration)
    assert (state.generation, state.completed, state.errored, state.outcome) == (2, BARE, 0, "Completed")


async def _publish(settings: Settings, orchestration: UUID, retried: asyncio.Event) -> None:
    """A producer that takes its time, and publishes the last fifth only after the retry."""
    publisher = Publisher()
    for first in range(0, BARE, BATCH):
        if first >= BARE * 4 // 5:
            await retried.wait()
        messages = [encode(_bare(orchestration, index, BARE)) for index in range(first, first + BATCH)]
        await publisher.publish(settings.topic(settings.jobs_topic), messages)
        await asyncio.sleep(0.1)
    await publisher.close()


async def _ended(client: Client, orchestration: UUID, count: int) -> bool:
    try:
        state = await client.state(orchestration)
    except Exception:  # its first message has not arrived yet
        return False
    return state.completed + state.errored >= count


@pytest.mark.timeout(900)
async def test_one_giant_cancel_holds_up_no_other_deadline_and_no_other_cancel(
    environment: dict[str, str], client: Client, database_url: str, tmp_path: Path
) -> None:
    giant, late = uuid4(), []
    diary = str(tmp_path / "diary")
    async with WorkerProcess(environment, tmp_path), WorkerProcess(environment, tmp_path):
        publisher = Publisher()
        settings = load(environment)
        await publisher.publish(settings.topic(settings.jobs_topic), [encode(_bare(giant, 0, GIANT))])
        await publisher.close()
        await until(lambda: _ended(client, giant, 1), within=30, what="its only message was worked off")
        with psycopg.connect(database_url, autocommit=True) as connection:  # a client that goes away at once
            connection.execute("UPDATE orchestration SET cancelled_at = now() WHERE id = %s", [giant])
            while not await _is_over(client, giant):
                due = await client.kick_off("waits", [{"seconds": 600, "diary": diary}], deadline=timedelta(seconds=1))
                cancelled = await client.kick_off("waits", [{"seconds": 600, "diary": diary}])
                await cancelled.cancel()
                await until(lambda one=due.id: _is_over(client, one), within=60, what="its deadline is enforced")
                overdue = "SELECT extract(epoch FROM completed_at - deadline) FROM orchestration WHERE id = %s"
                row = connection.execute(overdue, [due.id]).fetchone()
                assert row is not None
                late.append(float(row[0]))
    assert len(late) > 2, "deadlines passed while the giant was being ended"
    assert max(late) <= PROMPT_SECONDS, late
    state = await client.state(giant)
    assert (state.completed, state.errored) == (1, GIANT - 1)


async def _is_over(client: Client, orchestration: UUID) -> bool:
    return (await client.state(orchestration)).completed_at is not None
