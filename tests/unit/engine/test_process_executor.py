"""Handlers in child processes: what they return, report, print and raise, as it would be in the worker itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.engine.attempt import Attempt
from daemon.errors import TooManyNotes
from daemon.job import Claim, Failed, Interrupted, Kind, Returned, StopReason
from tests.fakes.delivery import JOB
from tests.harness.waiting import until
from tests.unit.engine.attempts import Recorded, failure
from tests.unit.engine.process_pools import Processes, processes


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Processes]:
    async with processes() as made:
        yield made


async def test_a_handler_runs_in_the_main_thread_of_one_process_after_the_other(shared: Processes) -> None:
    first, second = [await shared.run("add", {"a": 2, "b": 3}) for _ in range(2)]
    assert isinstance(first, Returned)
    assert first == second
    assert json.loads(first.result) == {"sum": 5, "pid": shared.started[-1].pid, "main": True}


async def test_its_context_is_that_of_the_claim(shared: Processes) -> None:
    result = await shared.run("whoami", index=3, count=7, attempt=4, failures=2, tags={"a": "b"}, checkpoint="[1]")
    assert result == Returned(json.dumps([str(JOB), 3, 7, 4, 2, {"a": "b"}, [1]], separators=(",", ":")))


async def test_progress_notes_and_checkpoints_reach_the_workers_recorder_in_order(shared: Processes) -> None:
    recorded = Recorded()
    assert await shared.run("report", recorder=recorded) == Returned("null")
    assert recorded.notes == ["note 0", "note 1", "note 2"]
    assert recorded.saved == ["0", "1", "2"]
    assert (recorded.progressed[-1].current, recorded.progressed[-1].total) == (3, 3)


async def test_a_lost_claim_is_raised_where_the_handler_saves(shared: Processes) -> None:
    result = await shared.run("report", recorder=Recorded(saves=False))
    assert result == Interrupted(StopReason.CLAIM_LOST)


async def test_too_many_notes_are_an_error_of_the_handler(shared: Processes) -> None:
    class Full(Recorded):
        def note(self, claim: Claim, text: str) -> None:
            raise TooManyNotes("one is enough")

    error = failure(await shared.run("report", recorder=Full()), Kind.RAISED)
    assert error.message == "TooManyNotes: one is enough"


async def test_a_checkpoint_that_can_not_be_stored_is_an_error_of_the_handler(shared: Processes) -> None:
    class Broken(Recorded):
        async def save(self, claim: Claim, checkpoint: str) -> bool:
            raise ValueError("no such table")

    error = failure(await shared.run("report", recorder=Broken()), Kind.RAISED)
    assert error.message == "HeadcountError: ValueError: no such table"


async def test_a_handler_waits_for_room_for_its_notes(shared: Processes) -> None:
    class Slow(Recorded):
        def note(self, claim: Claim, text: str) -> bool:  # type: ignore[override]
            self.notes.append(text)
            return True

        def has_room(self, claim: Claim) -> bool:
            return True

    recorded = Slow()
    assert await shared.run("report", recorder=recorded) == Returned("null")
    assert len(recorded.notes) == 3


async def test_lines_are_logged_with_the_job_whoever_wrote_them(shared: Processes) -> None:
    before = len(shared.logged())
    await shared.run("speak")
    logged = shared.logged()[before:]
    assert all(named for *_, named in logged)
    assert ("headcount.handler", "to stdout", {"stream": "stdout"}) in [line[:3] for line in logged]
    assert ("headcount.handler", "to stderr", {"stream": "stderr"}) in [line[:3] for line in logged]
    assert ("headcount.handler", "no newline", {"stream": "stdout"}) in [line[:3] for line in logged]
    assert ("headcount.handler", "by the context", {"cups": "3", "name": "x"}) in [line[:3] for line in logged]
    assert ("tests.unit.engine.process_jobs", "by logging", {}) in [line[:3] for line in logged]


async def test_what_it_raises_fails_the_attempt_with_a_traceback_of_its_own_code(shared: Processes) -> None:
    error = failure(await shared.run("explode"), Kind.RAISED)
    assert error.message == "LookupError: no such thing"
    assert error.traceback is not None
    assert "in explode" in error.traceback
    assert "daemon/engine" not in error.traceback


async def test_what_a_lifespan_yields_is_made_once_per_process_and_closed_with_it() -> None:
    async with processes() as made:
        assert [await made.run("use") for _ in range(2)] == [Returned("1"), Returned("2")]
        await made.pool.close()
        assert made.started[0].code == 0
    assert ("headcount.handler", "the model is closed", {"stream": "stdout"}, False) in made.logged()


async def test_retry_later_keeps_its_delay(shared: Processes) -> None:
    result = await shared.run("later")
    assert isinstance(result, Failed)
    assert (result.error.kind, result.retry_in) == (Kind.RETRY_LATER, 7)


async def test_a_result_of_fifty_megabytes_is_refused_in_the_child(shared: Processes) -> None:
    error = failure(await shared.run("bulky", {"bytes": 50_000_000}), Kind.RESULT_NOT_STORABLE)
    assert error.message == "it takes 50000002 bytes as JSON; the limit is 10485760"


async def test_a_large_result_arrives_whole(shared: Processes) -> None:
    result = await shared.run("bulky", {"bytes": 10_000_000})
    assert isinstance(result, Returned)
    assert len(result.result) == 10_000_002


async def test_what_is_no_json_is_refused(shared: Processes) -> None:
    failure(await shared.run("not_json"), Kind.RESULT_NOT_STORABLE)


async def test_a_handler_is_asked_to_stop_and_may_end_at_a_stop_point(shared: Processes, tmp_path: Path) -> None:
    attempt, begun = Attempt(JOB), tmp_path / "begun"
    running = asyncio.create_task(shared.run("wait", {"begun": str(begun)}, running=attempt))
    await until(begun.exists)
    attempt.stop(StopReason.DRAINING)
    assert await running == Interrupted(StopReason.DRAINING)


async def test_a_handler_that_notices_its_timeout_keeps_its_result(shared: Processes) -> None:
    assert await shared.run("overrun", grace=10) == Returned('"stopped for TimedOut"')


async def test_the_overall_timeout_of_a_job_reaches_its_process(shared: Processes) -> None:
    error = failure(await shared.run("stop_overall", grace=10), Kind.TIMED_OUT)
    assert "0.2 s" in error.message


async def test_an_exception_that_the_handler_gives_up_on_is_final(shared: Processes) -> None:
    result = await shared.run("picky")
    assert isinstance(result, Failed)
    assert result.final


async def test_an_attempt_that_waits_for_a_process_is_cancelled_without_running(
    shared: Processes, tmp_path: Path
) -> None:
    first, second, begun = Attempt(JOB), Attempt(JOB), tmp_path / "begun"
    running = asyncio.create_task(shared.run("wait", {"begun": str(begun)}, running=first))
    await until(begun.exists)
    waiting = asyncio.create_task(shared.run("add", running=second))
    await until(lambda: second.is_running)
    second.cancel(StopReason.DRAINING)
    assert await waiting == Interrupted(StopReason.DRAINING)
    first.stop(StopReason.DRAINING)
    await running
    assert len(shared.started) == 1, "one process has run all of this"
