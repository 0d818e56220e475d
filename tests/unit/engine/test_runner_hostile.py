"""Handlers that do their worst: whatever they raise becomes a Result, and the task that runs them goes on.

Asked of async and of plain handlers alike, where both can do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from daemon import JobContext
from daemon.errors import ClaimLost, GiveUp, RetryLater, Stopped
from daemon.job import Failed, Interrupted, Kind, Returned, StopReason
from daemon.rules.storable import storable_text
from tests.unit.engine.attempts import Recorded, failure, run_attempt


class Mute(Exception):
    """An exception that can't be described."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Rude(BaseException):
    """Not even an Exception."""


HOSTILE = [
    ValueError("boom"),
    Rude("rude"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError("its own"),
    StopIteration(3),
    StopAsyncIteration(),
    Mute(),
    ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    RecursionError("deep"),
    MemoryError(),
    TimeoutError("its own"),
    Stopped("nobody asked"),
    ClaimLost("its own"),
]


def _raising(error: BaseException, *, plain: bool) -> Callable[..., object]:
    if plain:

        def handler(params: dict[str, object]) -> None:
            raise error

        return handler

    async def async_handler(params: dict[str, object]) -> None:
        await asyncio.sleep(0)
        raise error

    return async_handler


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
async def test_whatever_is_raised_is_a_failure_of_the_attempt(error: BaseException, plain: bool) -> None:
    told = failure(await run_attempt(_raising(error, plain=plain)), Kind.RAISED)
    assert told.traceback is not None
    for text in (told.message, told.traceback):
        assert text == storable_text(text)


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_a_handler_may_give_up_or_ask_to_be_run_later(plain: bool) -> None:
    gave_up = await run_attempt(_raising(GiveUp("no such file"), plain=plain))
    assert "no such file" in failure(gave_up, Kind.GAVE_UP).message
    assert isinstance(gave_up, Failed)
    assert gave_up.final
    later = await run_attempt(_raising(RetryLater("busy", after=7), plain=plain))
    assert isinstance(later, Failed)
    assert (later.error.kind, later.retry_in, later.final) == (Kind.RETRY_LATER, 7.0, False)


@pytest.mark.parametrize("after", ["soon", [], 10**400, object()])
async def test_a_delay_that_is_no_number_follows_the_policy(after: object) -> None:
    later = await run_attempt(_raising(RetryLater(after=after), plain=False))  # type: ignore[arg-type]
    assert isinstance(later, Failed)
    assert (later.error.kind, later.retry_in) == (Kind.RETRY_LATER, None)


async def test_a_lost_claim_is_an_interruption() -> None:
    async def handler(params: dict[str, object], ctx: JobContext) -> None:
        await ctx.save({"done": 3})

    def plain_handler(params: dict[str, object], ctx: JobContext) -> None:
        ctx.save({"done": 3})

    for function in (handler, plain_handler):
        result = await run_attempt(function, recorder=Recorded(saves=False))
        assert result == Interrupted(StopReason.CLAIM_LOST)


async def test_a_group_that_says_one_thing_means_it() -> None:
    async def handler(params: dict[str, object]) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_give_up())

    async def _give_up() -> None:
        raise GiveUp("one of many")

    assert "one of many" in failure(await run_attempt(handler), Kind.GAVE_UP).message


async def test_an_enormous_message_is_cut() -> None:
    told = failure(await run_attempt(_raising(ValueError("x" * 5_000_000), plain=False)), Kind.RAISED)
    assert told.traceback is not None
    assert len(told.message) < 25_000
    assert len(told.traceback) < 25_000


async def test_an_enormous_traceback_is_cut() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError("at the bottom")
        try:
            deeper(depth - 1)
        except ValueError as error:
            raise ValueError(f"level {depth}: " + "y" * 500) from error

    async def handler(params: dict[str, object]) -> None:
        deeper(200)

    told = failure(await run_attempt(handler), Kind.RAISED)
    assert told.traceback is not None
    assert len(told.traceback) < 25_000


async def test_a_traceback_begins_in_the_handler_and_holds_nothing_unstorable() -> None:
    told = failure(await run_attempt(_raising(ValueError("a NUL \x00 and a half \ud800"), plain=False)), Kind.RAISED)
    assert told.traceback is not None
    assert "daemon/engine" not in told.traceback
    assert "\x00" not in told.message + told.traceback
    (told.message + told.traceback).encode()


async def test_a_handler_that_swallows_its_timeout_once_still_has_its_result() -> None:
    async def handler(params: dict[str, object]) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "saved what I had"
        return "never"

    assert await run_attempt(handler, timeout=0.01) == Returned('"saved what I had"')


async def test_a_handler_that_swallows_its_cancellation_and_goes_on_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daemon.engine.cancellation.CLEAN_UP_SECONDS", 0.02)
    swallowed = []

    async def handler(params: dict[str, object]) -> None:
        while len(swallowed) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                swallowed.append(error)
        await asyncio.Event().wait()

    failure(await run_attempt(handler, timeout=0.01), Kind.TIMED_OUT)
    assert len(swallowed) == 3


async def test_a_cancelled_handler_may_await_its_clean_up_and_leaves_no_cancellation_behind() -> None:
    cleaned = []

    async def handler(params: dict[str, object]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(cleaned.append, True)

    failure(await run_attempt(handler, timeout=0.01), Kind.TIMED_OUT)
    assert cleaned == [True]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_raised_instead_of_a_cancellation_is_a_failure() -> None:
    async def handler(params: dict[str, object]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")

    assert "while cleaning up" in failure(await run_attempt(handler, timeout=0.01), Kind.RAISED).message
