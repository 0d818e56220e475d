"""Timeouts, stops and limits: when an attempt is cut, what it is called then, and who may run beside whom."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from daemon.context import JobContext
from daemon.engine import runner as runner_module
from daemon.engine.running import Place, Running
from daemon.errors import Stopped
from daemon.job import Failed, Interrupted, Kind, Returned, StopReason
from tests.fakes.delivery import CLAIM, JOB, a_handler
from tests.fakes.observer import Listening
from tests.harness.waiting import until
from tests.unit.engine.attempts import a_runner, attempt, attempting, failure


async def forever(params: dict[str, object]) -> None:
    await asyncio.Event().wait()


async def test_an_async_handler_is_cut_at_its_timeout() -> None:
    told = failure(await attempt(forever, timeout=timedelta(milliseconds=20)), Kind.TIMED_OUT)
    assert "0.02 s" in told.message


async def test_a_plain_handler_learns_of_its_timeout_at_a_stop_point() -> None:
    def handler(params: dict[str, object], ctx: JobContext) -> None:
        assert ctx.wait_stop(5)
        assert ctx.stop_reason is StopReason.TIMED_OUT
        ctx.stop_point()

    failure(await attempt(handler, timeout=0.01), Kind.TIMED_OUT)


async def test_a_plain_handler_that_ignores_its_timeout_keeps_its_attempt_until_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "THREAD_GRACE", 0.02)
    released, place, running = threading.Event(), Place(JOB), Running()

    def handler(params: dict[str, object]) -> str:
        released.wait(10)
        return "too late"

    async with attempting(handler, place, timeout=0.01) as task:
        await until(lambda: place.cancelled_at is not None, what="the timeout and its grace have passed")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        released.set()
    failure(task.result(), Kind.TIMED_OUT)
    assert not running.left_threads


async def test_a_plain_handler_whose_claim_is_lost_keeps_its_slot_until_it_has_ended() -> None:
    place, begun, released = Place(JOB), threading.Event(), threading.Event()

    def handler(params: dict[str, object]) -> str:
        begun.set()
        released.wait(10)
        return "in vain"

    async with attempting(handler, place) as task:
        await until(begun.is_set)
        place.cancel(StopReason.CLAIM_LOST)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        released.set()
    assert task.result() == Returned('"in vain"'), "its settlement is stale, whatever it says"


async def test_a_plain_handler_that_ends_within_the_grace_keeps_its_result() -> None:
    def handler(params: dict[str, object], ctx: JobContext) -> str:
        ctx.wait_stop(5)
        return "in time"

    assert await attempt(handler, timeout=0.01) == Returned('"in time"')


@pytest.mark.parametrize("reason", [StopReason.DRAINING, StopReason.CLAIM_LOST])
async def test_a_cancelled_attempt_is_interrupted_for_its_reason(reason: StopReason) -> None:
    place, begun = Place(JOB), asyncio.Event()

    async def handler(params: dict[str, object]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with attempting(handler, place) as task:
        await begun.wait()
        place.cancel(reason)
    assert task.result() == Interrupted(reason)


@pytest.mark.parametrize("timed_out", [False, True])
async def test_a_plain_handler_that_outlasts_a_drain_is_dated_after_the_end_of_the_process(timed_out: bool) -> None:
    place, begun, released, heard = Place(JOB), threading.Event(), threading.Event(), Listening()
    running = Running()
    runner = a_runner(observer=heard, running=running, exit_in=lambda: 2.5)

    def handler(params: dict[str, object]) -> None:
        begun.set()
        released.wait(10)

    async with attempting(handler, place, runner=runner, timeout=60) as task:
        await until(begun.is_set)
        if timed_out:
            place.signal.set(StopReason.TIMED_OUT)
        place.cancel(StopReason.DRAINING)
    released.set()
    result = task.result()
    assert isinstance(result, Failed if timed_out else Interrupted)
    assert result.still_runs_for == 3.5
    assert (heard.all("stuck"), running.left_threads) == ([(CLAIM, 0.0)], True)


async def test_an_attempt_that_is_asked_to_stop_before_it_begins_does_not_begin() -> None:
    place = Place(JOB)
    place.signal.set(StopReason.DRAINING)
    began = []

    async def handler(params: dict[str, object]) -> None:
        began.append(1)

    assert await attempt(handler, place=place) == Interrupted(StopReason.DRAINING)
    assert began == []


async def test_stop_points_in_the_tasks_of_a_group_are_one_interruption() -> None:
    place, ready = Place(JOB), asyncio.Event()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        async def part() -> None:
            await ready.wait()
            ctx.stop_point()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(part())
            tasks.create_task(part())

    async with attempting(handler, place) as task:
        await until(lambda: place.task is not None)
        place.signal.set(StopReason.DRAINING)
        ready.set()
    assert task.result() == Interrupted(StopReason.DRAINING)


async def test_a_stop_that_nobody_asked_for_is_a_failure() -> None:
    async def handler(params: dict[str, object]) -> None:
        raise Stopped

    failure(await attempt(handler), Kind.RAISED)


async def test_a_cancel_after_the_end_reaches_nothing() -> None:
    place = Place(JOB)

    async def handler(params: dict[str, object]) -> int:
        return 1

    assert await attempt(handler, place=place) == Returned("1")
    place.cancel(StopReason.CLAIM_LOST)
    await asyncio.sleep(0)


async def test_at_most_so_many_of_a_name_run_at_once() -> None:
    runner, running, most, gate = a_runner(), [0], [0], asyncio.Event()

    async def handler(params: dict[str, object]) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await gate.wait()
        running[0] -= 1

    tasks = [asyncio.create_task(attempt(handler, place=Place(JOB), runner=runner, concurrency=2)) for _ in range(6)]
    await until(lambda: running[0] == 2)
    gate.set()
    assert await asyncio.gather(*tasks) == [Returned("null")] * 6
    assert most[0] == 2


async def test_a_job_that_waits_for_its_turn_can_be_interrupted_and_blocks_nobody() -> None:
    runner, gate, first, second = a_runner(), asyncio.Event(), Place(JOB), Place(JOB)

    async def handler(params: dict[str, object]) -> None:
        await gate.wait()

    async with attempting(handler, first, runner=runner, concurrency=1) as holds:
        await until(lambda: first.task is not None and not first.waiting)
        async with attempting(handler, second, runner=runner, concurrency=1) as waits:
            await until(lambda: second.waiting)
            second.cancel(StopReason.DRAINING)
        assert waits.result() == Interrupted(StopReason.DRAINING)
        gate.set()
    assert holds.result() == Returned("null")
    assert await attempt(handler, runner=runner, concurrency=1) == Returned("null")


async def test_the_timeout_does_not_count_the_wait_for_a_turn() -> None:
    runner, gate = a_runner(), asyncio.Event()

    async def slow(params: dict[str, object]) -> None:
        await gate.wait()

    async def quick(params: dict[str, object]) -> None:
        await asyncio.sleep(0)

    first = Place(JOB)
    async with attempting(slow, first, runner=runner, concurrency=1):
        await until(lambda: first.task is not None and not first.waiting)
        second = asyncio.create_task(attempt(quick, runner=runner, concurrency=1, timeout=0.05))
        await asyncio.wait({second}, timeout=0.1)
        assert not second.done()
        gate.set()
    assert await second == Returned("null")


async def test_a_job_that_is_cancelled_from_outside_passes_it_on() -> None:
    place = Place(JOB)
    task = asyncio.create_task(a_runner().run(CLAIM, a_handler(forever), place))
    await until(lambda: place.task is not None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
