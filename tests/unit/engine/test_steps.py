"""Durable steps of a handler: called once, recorded, and replayed by later attempts, in async and in plain handlers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from uuid import UUID

import pytest

from daemon.context import JobContext
from daemon.engine.attempt import Attempt
from daemon.errors import GiveUp, InvalidStep
from daemon.job import Claim, Failed, Interrupted, Kind, Result, Returned, StopReason
from daemon.recorder import RecordedStep
from daemon.rules.retry import Backoff
from tests.fakes.delivery import JOB, a_claim
from tests.unit.engine.attempts import Steps, a_runner, failure, run_attempt

AT_ONCE = Backoff(initial=0, maximum=0)
PLAIN = pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
Params = dict[str, object]


async def run(
    handler: Callable[..., object],
    store: Steps,
    attempt: int = 1,
    running: Attempt | None = None,
    **terms: object,
) -> Result:
    claim: Claim = a_claim(attempt=attempt)
    return await run_attempt(handler, claim=claim, attempt=running, runner=a_runner(steps=store), **terms)  # type: ignore[arg-type]


def counting(calls: list[str], plain: bool, *names: str) -> Callable[..., object]:
    """A handler with these steps, each of which notes its call and gives its name."""

    def call(name: str) -> str:
        calls.append(name)
        return name

    async def handler(params: Params, ctx: JobContext) -> list[str]:
        return [await ctx.step(name, call, name) for name in names]

    def plain_handler(params: Params, ctx: JobContext) -> list[str]:
        return [ctx.step(name, call, name) for name in names]

    return plain_handler if plain else handler


@PLAIN
async def test_a_recorded_step_is_not_called_again(plain: bool) -> None:
    calls: list[str] = []
    store = Steps()
    assert await run(counting(calls, plain, "charge", "ship"), store) == Returned('["charge","ship"]')
    assert store.reads == 0, "a first attempt has nothing to replay"
    assert [(step.name, step.number, step.result) for step in store.kept.values()] == [
        ("charge", 1, '"charge"'),
        ("ship", 2, '"ship"'),
    ]
    assert await run(counting(calls, plain, "charge", "ship"), store, 2) == Returned('["charge","ship"]')
    assert (calls, store.reads) == (["charge", "ship"], 1)


@PLAIN
async def test_a_step_gives_the_same_json_when_it_runs_and_when_it_is_replayed(plain: bool) -> None:
    store, seen = Steps(), []

    async def handler(params: Params, ctx: JobContext) -> None:
        seen.append(await ctx.step("ids", lambda: (UUID(int=7), {1: None})))

    def plain_handler(params: Params, ctx: JobContext) -> None:
        seen.append(ctx.step("ids", lambda: (UUID(int=7), {1: None})))

    for attempt in (1, 2):
        assert await run(plain_handler if plain else handler, store, attempt) == Returned("null")
    assert seen == [[str(UUID(int=7)), {"1": None}]] * 2


@PLAIN
async def test_a_step_whose_claim_is_lost_ends_the_attempt(plain: bool) -> None:
    store, calls = Steps(), list[str]()
    store.holds = False
    assert await run(counting(calls, plain, "charge", "ship"), store) == Interrupted(StopReason.CLAIM_LOST)
    assert calls == ["charge"]


@PLAIN
async def test_a_stop_is_heeded_before_a_step_and_after_it_is_recorded(plain: bool) -> None:
    running, store, calls = Attempt(JOB), Steps(), list[str]()

    def charge() -> None:
        calls.append("charge")
        running.signal.set(StopReason.DRAINING)

    async def handler(params: Params, ctx: JobContext) -> None:
        await ctx.step("charge", charge)
        await ctx.step("ship", calls.append, "ship")

    def plain_handler(params: Params, ctx: JobContext) -> None:
        ctx.step("charge", charge)
        ctx.step("ship", calls.append, "ship")

    result = await run(plain_handler if plain else handler, store, running=running)
    assert result == Interrupted(StopReason.DRAINING)
    assert (calls, list(store.kept)) == (["charge"], ["charge"])


@PLAIN
async def test_a_step_is_tried_again_in_place_and_fails_in_the_end(plain: bool) -> None:
    tries: list[str] = []

    def fails(name: str, times: int) -> str:
        tries.append(name)
        if tries.count(name) <= times:
            raise OSError("gone")
        return name

    async def handler(params: Params, ctx: JobContext) -> None:
        await ctx.step("twice", fails, "twice", 2, retry=AT_ONCE)
        await ctx.step("often", fails, "often", 9, retry=AT_ONCE, max_attempts=4)

    def plain_handler(params: Params, ctx: JobContext) -> None:
        ctx.step("twice", fails, "twice", 2, retry=AT_ONCE)
        ctx.step("often", fails, "often", 9, retry=AT_ONCE, max_attempts=4)

    store = Steps()
    error = failure(await run(plain_handler if plain else handler, store), Kind.RAISED)
    assert error.message == "OSError: gone"
    assert tries == ["twice"] * 3 + ["often"] * 4
    assert list(store.kept) == ["twice"]


async def test_giving_up_in_a_step_is_not_retried() -> None:
    tries: list[int] = []

    def no_money() -> None:
        tries.append(1)
        raise GiveUp("no money")

    async def handler(params: Params, ctx: JobContext) -> None:
        await ctx.step("charge", no_money, retry=AT_ONCE)

    failure(await run(handler, Steps()), Kind.GAVE_UP)
    assert len(tries) == 1


@PLAIN
async def test_steps_run_at_the_same_time_and_only_missing_ones_run_again(plain: bool) -> None:
    together, calls = threading.Barrier(2), list[str]()

    async def slow(name: str) -> str:
        await asyncio.to_thread(together.wait, 10)
        calls.append(name)
        return name

    def plain_slow(name: str) -> str:
        together.wait(10)
        calls.append(name)
        return name

    async def handler(params: Params, ctx: JobContext) -> object:
        made = await ctx.steps(a=lambda: slow("a"), b=lambda: slow("b"), c=lambda: 3)
        return {**made, "d": await ctx.step("d", lambda: 4)}

    def plain_handler(params: Params, ctx: JobContext) -> object:
        made = ctx.steps(a=lambda: plain_slow("a"), b=lambda: plain_slow("b"), c=lambda: 3)
        return {**made, "d": ctx.step("d", lambda: 4)}

    store = Steps(RecordedStep("c", 3, "30"))
    result = await run(plain_handler if plain else handler, store, 2)
    assert result == Returned('{"a":"a","b":"b","c":30,"d":4}')
    assert sorted(calls) == ["a", "b"]
    assert {step.name: step.number for step in store.kept.values()} == {"a": 1, "b": 2, "c": 3, "d": 4}


@PLAIN
async def test_the_key_of_a_step_is_the_same_in_every_attempt_and_another_for_each_step(plain: bool) -> None:
    keys: list[str] = []

    async def handler(params: Params, ctx: JobContext) -> None:
        await ctx.step("charge", lambda: keys.append(ctx.step_key))
        await ctx.step("ship", lambda: keys.append(ctx.step_key))

    def plain_handler(params: Params, ctx: JobContext) -> None:
        ctx.step("charge", lambda: keys.append(ctx.step_key))
        ctx.step("ship", lambda: keys.append(ctx.step_key))

    for attempt in (1, 2):
        await run(plain_handler if plain else handler, Steps(), attempt)
    assert keys[:2] == keys[2:]
    assert len(set(keys)) == 2


async def _inside(ctx: JobContext) -> None:
    await ctx.step("outer", lambda: ctx.step("inner", int))


async def _twice(ctx: JobContext) -> None:
    await ctx.step("charge", int)
    await ctx.step("charge", int)


async def _beside(ctx: JobContext) -> None:
    await asyncio.gather(ctx.step("a", int), ctx.step("b", int))


async def _not_awaited(ctx: JobContext) -> None:
    forgotten = ctx.step("a", int)
    try:
        await ctx.step("b", int)
    finally:
        forgotten.close()


async def _no_name(ctx: JobContext) -> None:
    await ctx.step("", int)


async def _key_outside(ctx: JobContext) -> None:
    ctx.step_key  # noqa: B018


async def _no_database(ctx: JobContext) -> None:
    await ctx.step("a", int, tx=True)


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (_inside, "within step 'outer'"),
        (_twice, "two steps of a run are named 'charge'"),
        (_beside, "started by ctx.steps"),
        (_not_awaited, "or was not awaited"),
        (_no_name, "1 to 200 printable"),
        (_key_outside, "belongs to a step"),
        (_no_database, "needs the database"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_a_step_that_could_not_be_told_from_another_is_refused(
    misuse: Callable[[JobContext], object], words: str
) -> None:
    async def handler(params: Params, ctx: JobContext) -> None:
        await misuse(ctx)  # type: ignore[misc]

    result = await run(handler, Steps())
    assert isinstance(result, Failed)
    assert InvalidStep.__name__ in result.error.message
    assert words in result.error.message


async def test_a_plain_handler_calls_no_coroutine_as_a_step() -> None:
    async def charge() -> None: ...

    def handler(params: Params, ctx: JobContext) -> None:
        ctx.step("charge", charge)

    assert "are plain functions" in failure(await run(handler, Steps()), Kind.RAISED).message


async def test_a_step_that_has_run_is_recorded_although_the_handler_is_cancelled() -> None:
    running, store = Attempt(JOB), Steps()

    async def handler(params: Params, ctx: JobContext) -> None:
        await ctx.step(
            "charge", lambda: asyncio.get_running_loop().call_soon(running.cancel, StopReason.DRAINING) and 1
        )
        raise AssertionError("it went on")

    assert await run(handler, store, running=running) == Interrupted(StopReason.DRAINING)
    assert list(store.kept) == ["charge"]
