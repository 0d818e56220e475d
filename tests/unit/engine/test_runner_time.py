"""Timeouts, stops and limits: when an attempt is cut, what it is called then, and who may run beside whom."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta

import pytest

from daemon.context import JobContext
from daemon.engine.attempt import Attempt, InFlight
from daemon.errors import Stopped
from daemon.job import Claim, Failed, Interrupted, Kind, Returned, StopReason
from tests.fakes.delivery import CLAIM, JOB, a_claim, a_handler
from tests.fakes.observer import Listening
from tests.harness.waiting import until
from tests.unit.engine.attempts import a_runner, attempting, failure, run_attempt


async def forever(params: dict[str, object]) -> None:
    await asyncio.Event().wait()


async def test_an_async_handler_is_cut_at_its_timeout() -> None:
    told = failure(await run_attempt(forever, timeout=timedelta(milliseconds=20)), Kind.TIMED_OUT)
    assert "0.02 s" in told.message


async def test_a_plain_handler_learns_of_its_timeout_at_a_stop_point() -> None:
    def handler(params: dict[str, object], ctx: JobContext) -> None:
        assert ctx.wait_stop(5)
        assert ctx.stop_reason is StopReason.TIMED_OUT
        ctx.stop_point()

    failure(await run_attempt(handler, timeout=0.01), Kind.TIMED_OUT)


async def test_a_plain_handler_that_ignores_its_timeout_keeps_its_attempt_until_it_has_ended() -> None:
    released, attempt, in_flight = threading.Event(), Attempt(JOB), InFlight()
    runner = a_runner(in_flight=in_flight, grace=0.02)

    def handler(params: dict[str, object]) -> str:
        released.wait(10)
        return "too late"

    async with attempting(handler, attempt, runner=runner, timeout=0.01) as task:
        await until(lambda: attempt.cancelled_at is not None, what="the timeout and its grace have passed")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        released.set()
    failure(task.result(), Kind.TIMED_OUT)
    assert not in_flight.left_threads


async def test_a_plain_handler_whose_claim_is_lost_keeps_its_slot_until_it_has_ended() -> None:
    attempt, begun, released = Attempt(JOB), threading.Event(), threading.Event()

    def handler(params: dict[str, object]) -> str:
        begun.set()
        released.wait(10)
        return "in vain"

    async with attempting(handler, attempt) as task:
        await until(begun.is_set)
        attempt.cancel(StopReason.CLAIM_LOST)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        released.set()
    assert task.result() == Returned('"in vain"'), "its settlement is stale, whatever it says"


async def test_a_plain_handler_that_ends_within_the_grace_keeps_its_result() -> None:
    def handler(params: dict[str, object], ctx: JobContext) -> str:
        ctx.wait_stop(5)
        return "in time"

    assert await run_attempt(handler, timeout=0.01) == Returned('"in time"')


@pytest.mark.parametrize("reason", [StopReason.DRAINING, StopReason.CLAIM_LOST])
async def test_a_cancelled_attempt_is_interrupted_for_its_reason(reason: StopReason) -> None:
    attempt, begun = Attempt(JOB), asyncio.Event()

    async def handler(params: dict[str, object]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with attempting(handler, attempt) as task:
        await begun.wait()
        attempt.cancel(reason)
    assert task.result() == Interrupted(reason)


@pytest.mark.parametrize("timed_out", [False, True])
async def test_a_plain_handler_that_outlasts_a_drain_is_dated_after_the_end_of_the_process(timed_out: bool) -> None:
    attempt, begun, released, heard = Attempt(JOB), threading.Event(), threading.Event(), Listening()
    in_flight = InFlight()
    runner = a_runner(observer=heard, in_flight=in_flight, exit_in=lambda: 2.5)

    def handler(params: dict[str, object]) -> None:
        begun.set()
        released.wait(10)

    async with attempting(handler, attempt, runner=runner, timeout=60) as task:
        await until(begun.is_set)
        if timed_out:
            attempt.signal.set(StopReason.TIMED_OUT)
        attempt.cancel(StopReason.DRAINING)
    released.set()
    result = task.result()
    assert isinstance(result, Failed if timed_out else Interrupted)
    assert result.still_runs_for == 3.5
    assert (heard.all("handler_stuck"), in_flight.left_threads) == ([(CLAIM, 0.0)], True)


async def test_a_plain_handler_that_computes_for_long_is_reported_and_one_that_waits_is_not() -> None:
    heard = Listening()

    def handler(params: dict[str, float]) -> None:
        while time.thread_time() < params["seconds"]:
            pass

    def waiting(params: dict[str, float], ctx: JobContext) -> None:
        ctx.wait_stop(1.2)

    for function, seconds in ((handler, 1.1), (waiting, 0)):
        await run_attempt(function, claim=a_claim(params=f'{{"seconds":{seconds}}}'), runner=a_runner(observer=heard))
    ((claim, computed),) = heard.all("thread_computed")
    assert isinstance(claim, Claim)
    assert isinstance(computed, float)
    assert claim.params == '{"seconds":1.1}'
    assert 1.0 < computed < 1.5


async def test_an_attempt_that_is_asked_to_stop_before_it_begins_does_not_begin() -> None:
    attempt = Attempt(JOB)
    attempt.signal.set(StopReason.DRAINING)
    began = []

    async def handler(params: dict[str, object]) -> None:
        began.append(1)

    assert await run_attempt(handler, attempt=attempt) == Interrupted(StopReason.DRAINING)
    assert began == []


async def test_stop_points_in_the_tasks_of_a_group_are_one_interruption() -> None:
    attempt, ready = Attempt(JOB), asyncio.Event()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        async def part() -> None:
            await ready.wait()
            ctx.stop_point()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(part())
            tasks.create_task(part())

    async with attempting(handler, attempt) as task:
        await until(lambda: attempt.is_running)
        attempt.signal.set(StopReason.DRAINING)
        ready.set()
    assert task.result() == Interrupted(StopReason.DRAINING)


async def test_a_stop_that_nobody_asked_for_is_a_failure() -> None:
    async def handler(params: dict[str, object]) -> None:
        raise Stopped

    failure(await run_attempt(handler), Kind.RAISED)


async def test_a_cancel_after_the_end_reaches_nothing() -> None:
    attempt = Attempt(JOB)

    async def handler(params: dict[str, object]) -> int:
        return 1

    assert await run_attempt(handler, attempt=attempt) == Returned("1")
    attempt.cancel(StopReason.CLAIM_LOST)
    await asyncio.sleep(0)


async def test_a_job_whose_loop_is_closed_passes_the_cancellation_on() -> None:
    attempt = Attempt(JOB)
    task = asyncio.create_task(a_runner().run(CLAIM, a_handler(forever), attempt))
    await until(lambda: attempt.is_running)
    attempt.stop(StopReason.DRAINING)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
