"""A handler that sleeps or waits for a signal gives its slot back, and goes on from its recorded steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from daemon.context import JobContext
from daemon.engine.attempt import Attempt
from daemon.errors import SuspendNotAllowed, WaitTimedOut
from daemon.job import Failed, Interrupted, Kind, Returned, StopReason
from daemon.recorder import RecordedStep, StepKind
from daemon.suspension import Suspension
from tests.fakes.delivery import JOB
from tests.unit.engine.attempts import Steps, failure
from tests.unit.engine.test_steps import PLAIN, Params, run

HOUR = 3600.0


def sleeping(calls: list[str], plain: bool, duration: timedelta | float = HOUR) -> Callable[..., object]:
    """A handler that notes what it does before and after a sleep."""

    async def handler(params: Params, ctx: JobContext) -> None:
        await ctx.step("before", calls.append, "before")
        await ctx.sleep(duration)
        await ctx.step("after", calls.append, "after")

    def plain_handler(params: Params, ctx: JobContext) -> None:
        ctx.step("before", calls.append, "before")
        ctx.sleep(duration)
        ctx.step("after", calls.append, "after")

    return plain_handler if plain else handler


def waiting(plain: bool, timeout: timedelta | float | None = None) -> Callable[..., object]:
    """A handler that gives what a signal brings."""

    async def handler(params: Params, ctx: JobContext) -> object:
        return await ctx.wait_for("approved", timeout)

    def plain_handler(params: Params, ctx: JobContext) -> object:
        return ctx.wait_for("approved", timeout)

    return plain_handler if plain else handler


@PLAIN
async def test_a_long_sleep_suspends_the_job_and_goes_on_when_it_is_over(plain: bool) -> None:
    store, calls = Steps(), list[str]()
    assert await run(sleeping(calls, plain, timedelta(days=3)), store) == Suspension(3 * 24 * HOUR)
    slept = store.kept["sleep-2"]
    assert (slept.kind, slept.number, slept.due_in) == (StepKind.SLEEP, 2, 3 * 24 * HOUR)
    store.kept["sleep-2"] = RecordedStep("sleep-2", 2, "null", StepKind.SLEEP, 60.0)
    again = await run(sleeping(calls, plain), store, 2)
    assert isinstance(again, Suspension)
    assert again.delay == pytest.approx(60, abs=5), "woken early, it sleeps for what is left"
    store.kept["sleep-2"] = RecordedStep("sleep-2", 2, "null", StepKind.SLEEP, -1.0)
    assert await run(sleeping(calls, plain), store, 3) == Returned("null")
    assert calls == ["before", "after"]


@PLAIN
async def test_a_short_sleep_is_waited_for_in_place(plain: bool) -> None:
    store, calls = Steps(), list[str]()
    assert await run(sleeping(calls, plain, 0.01), store) == Returned("null")
    assert list(store.kept) == ["before", "sleep-2", "after"]


async def test_a_stop_ends_a_sleep_in_place() -> None:
    running = Attempt(JOB)

    async def handler(params: Params, ctx: JobContext) -> None:
        asyncio.get_running_loop().call_soon(running.signal.set, StopReason.DRAINING)
        await ctx.sleep(4)

    assert await run(handler, Steps(), running=running) == Interrupted(StopReason.DRAINING)


@PLAIN
async def test_a_wait_suspends_the_job_until_the_signal_and_gives_its_payload(plain: bool) -> None:
    store = Steps()
    assert await run(waiting(plain, HOUR), store) == Suspension(HOUR, "approved", 3)
    assert await run(waiting(plain), store, 2) == Suspension(7 * 24 * HOUR, "approved", 3), "it looks again each week"
    store.signals.append('{"by": "eve"}')
    assert await run(waiting(plain, HOUR), store, 3) == Returned('{"by":"eve"}')
    assert await run(waiting(plain, HOUR), store, 4) == Returned('{"by":"eve"}'), "the payload is replayed"


@PLAIN
async def test_a_signal_that_came_before_is_not_waited_for(plain: bool) -> None:
    store = Steps()
    store.signals.append("null")
    assert await run(waiting(plain), store) == Returned("null")


@PLAIN
async def test_a_wait_that_no_signal_ends_times_out_in_every_later_attempt(plain: bool) -> None:
    store = Steps()
    assert await run(waiting(plain, 0), store) == Suspension(0.0, "approved", 3)
    for attempt in (2, 3):
        error = failure(await run(waiting(plain, 0), store, attempt), Kind.RAISED)
        assert WaitTimedOut.__name__ in error.message
        store.signals.append('"too late"')


async def test_a_handler_may_go_on_after_a_timeout() -> None:
    async def handler(params: Params, ctx: JobContext) -> str:
        try:
            await ctx.wait_for("approved", 0)
        except WaitTimedOut:
            return await ctx.step("remind", lambda: "reminded")  # type: ignore[no-any-return]
        return "approved"

    store = Steps()
    await run(handler, store)
    assert await run(handler, store, 2) == Returned('"reminded"')


@PLAIN
async def test_a_wait_whose_claim_is_lost_ends_the_attempt(plain: bool) -> None:
    store = Steps()
    store.holds = False
    assert await run(waiting(plain), store) == Interrupted(StopReason.CLAIM_LOST)


async def _in_a_step(ctx: JobContext) -> None:
    await ctx.step("outer", lambda: ctx.sleep(HOUR))


async def _in_a_task(ctx: JobContext) -> None:
    await asyncio.create_task(ctx.sleep(HOUR))


async def _in_a_task_that_waits(ctx: JobContext) -> None:
    await asyncio.create_task(ctx.wait_for("approved"))


@pytest.mark.parametrize("misuse", [_in_a_step, _in_a_task, _in_a_task_that_waits])
async def test_only_the_handler_itself_suspends_its_job(misuse: Callable[[JobContext], object]) -> None:
    async def handler(params: Params, ctx: JobContext) -> None:
        await misuse(ctx)  # type: ignore[misc]

    result = await run(handler, Steps())
    assert isinstance(result, Failed)
    assert SuspendNotAllowed.__name__ in result.error.message


async def test_a_job_that_is_suspended_within_a_task_group_of_its_handler_is_suspended() -> None:
    async def handler(params: Params, ctx: JobContext) -> None:
        async with asyncio.TaskGroup():
            await ctx.sleep(HOUR)

    assert await run(handler, Steps()) == Suspension(HOUR)


async def test_the_same_signal_is_waited_for_more_than_once_under_names_of_its_own() -> None:
    async def handler(params: Params, ctx: JobContext) -> list[object]:
        return [await ctx.wait_for("approved", name=f"approval {number}") for number in (1, 2)]

    store = Steps()
    store.signals += ['"eve"', '"bob"']
    assert await run(handler, store) == Returned('["eve","bob"]')
