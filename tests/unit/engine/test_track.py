"""Looping over items with progress, stop points and a cursor, in async and in plain handlers."""

from __future__ import annotations

import pytest

from daemon.context import JobContext
from daemon.engine.attempt import Attempt
from daemon.job import Interrupted, Kind, Returned, StopReason
from tests.fakes.delivery import JOB, a_claim
from tests.unit.engine.attempts import Recorded, failure, run_attempt

ITEMS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize(
    ("checkpoint", "seen"),
    [(None, "abcd"), ("0", "abcd"), ("2", "cd"), ("4", ""), ("9", "abcd"), ("-1", "abcd"), ('"x"', "abcd")],
)
async def test_a_loop_begins_where_the_last_attempt_stood(checkpoint: str | None, seen: str, plain: bool) -> None:
    recorder, items = Recorded(), []

    def handler(params: dict[str, object], ctx: JobContext) -> None:
        items.extend(ctx.track(ITEMS))

    async def async_handler(params: dict[str, object], ctx: JobContext) -> None:
        items.extend([item async for item in ctx.track(ITEMS)])

    claim = a_claim(checkpoint=checkpoint)
    assert await run_attempt(handler if plain else async_handler, claim=claim, recorder=recorder) == Returned("null")
    assert "".join(items) == seen
    assert recorder.progressed[-1].current == recorder.progressed[-1].total == 4


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("stop_in", range(4))
async def test_an_interrupted_loop_repeats_no_item_whose_turn_had_ended(stop_in: int, plain: bool) -> None:
    recorder, attempt, seen = Recorded(), Attempt(JOB), []

    def work(item: str) -> None:
        seen.append(item)
        if len(seen) == stop_in + 1:
            attempt.signal.set(StopReason.DRAINING)

    def handler(params: dict[str, object], ctx: JobContext) -> None:
        for item in ctx.track(ITEMS):
            work(item)

    async def async_handler(params: dict[str, object], ctx: JobContext) -> None:
        async for item in ctx.track(ITEMS):
            work(item)

    chosen = handler if plain else async_handler
    result = await run_attempt(chosen, attempt=attempt, recorder=recorder)
    if stop_in == len(ITEMS) - 1:
        assert result == Returned("null"), "the last item's turn has ended: nothing is left to interrupt"
        return
    assert result == Interrupted(StopReason.DRAINING)
    again = await run_attempt(chosen, claim=a_claim(checkpoint=recorder.saved[-1], attempt=2), recorder=recorder)
    assert again == Returned("null")
    assert seen == ITEMS


async def test_a_cursor_is_saved_as_often_as_asked() -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        async for _ in ctx.track(ITEMS, save_every=0):
            pass

    await run_attempt(handler, recorder=recorder)
    assert recorder.saved == ["1", "2", "3"]


async def test_a_loop_says_what_it_works_on() -> None:
    recorder = Recorded()

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        async for _ in ctx.track(ITEMS, message=lambda item: f"item {item}"):
            pass

    await run_attempt(handler, recorder=recorder)
    assert [one.message for one in recorder.progressed] == ["item a", "item b", "item c", "item d", None]
    assert [one.current for one in recorder.progressed] == [0, 1, 2, 3, 4]


async def test_a_loop_that_is_to_stop_before_its_first_item_saves_nothing() -> None:
    recorder, attempt = Recorded(), Attempt(JOB)

    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        attempt.signal.set(StopReason.DRAINING)
        async for _ in ctx.track(ITEMS):
            raise AssertionError("an item was given")

    assert await run_attempt(handler, attempt=attempt, recorder=recorder) == Interrupted(StopReason.DRAINING)
    assert recorder.saved == []


async def test_a_plain_loop_in_an_async_handler_is_refused() -> None:
    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        for _ in ctx.track(ITEMS):
            pass

    assert "async for" in failure(await run_attempt(handler), Kind.RAISED).message
