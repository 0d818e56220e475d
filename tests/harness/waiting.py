"""Waiting for something to become true, instead of sleeping and hoping.

Used by tests of every kind. A condition is asked again and again until it answers something true;
what it answered is returned, and the error of a wait that took too long says what it answered last
and what the things that it looks at were by then. A wait is over as soon as its condition is true, so
that a generous limit costs nothing but where something is broken.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

PAUSE = 0.01
LONGEST_PAUSE = 0.1
PATIENCE = 30.0  # seconds: several times what anything takes on a machine that others use too
SHOWN = 2_000  # characters of each thing that a condition looks at


def eventually(condition: Callable[[], T], *, within: float = PATIENCE, what: str = "") -> T:
    """The first true answer of `condition`. An AssertionError in it means "not yet".

    Blocks the thread: in an async test use `await until(...)`.
    """
    pause, end = PAUSE, time.monotonic() + within
    while True:
        answer: T | AssertionError = _asked(condition)
        if answer and not isinstance(answer, AssertionError):
            return answer
        if time.monotonic() >= end:
            raise _too_late(condition, answer, within, what)
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


async def until(condition: Callable[[], T | Awaitable[T]], *, within: float = PATIENCE, what: str = "") -> T:
    """The same for the event loop; the condition may be a coroutine function."""
    pause, end = PAUSE, time.monotonic() + within
    while True:
        asked: Any = _asked(condition)
        answer: T | AssertionError = await _awaited(asked) if inspect.isawaitable(asked) else asked
        if answer and not isinstance(answer, AssertionError):
            return answer
        if time.monotonic() >= end:
            raise _too_late(condition, answer, within, what)
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


def _asked(condition: Callable[[], Any]) -> Any:
    try:
        return condition()
    except AssertionError as not_yet:
        return not_yet


async def _awaited(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except AssertionError as not_yet:
        return not_yet


def _too_late(condition: Callable[[], Any], last: object, within: float, what: str) -> AssertionError:
    name = what or getattr(condition, "__qualname__", repr(condition))
    return AssertionError(f"not within {within:g} s: {name}; the last answer was {last!r}{_seen(condition)}")


def _seen(condition: Callable[[], Any]) -> str:
    """The variables that a condition uses of the test around it, one a line."""
    try:
        variables = inspect.getclosurevars(condition).nonlocals
    except TypeError:  # no function of Python's, such as a partial
        return ""
    return "".join(f"\n  {name} = {repr(value)[:SHOWN]}" for name, value in variables.items())
