"""One call of a durable step, and which step the code that asks runs in.

Used by the steps and the waits of an attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from daemon.errors import HeadcountError
from daemon.rules.retry import Backoff, retry_delay

RESULT_LIMIT = 1024 * 1024
NAME_LIMIT = 200
LONGEST_PAUSE = 30.0

_current: ContextVar[str | None] = ContextVar("current_step", default=None)


class StepsRestarted(BaseException):
    """The recorded steps are deleted, and the handler begins anew: caught by whoever calls it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of `ctx.step`: the `number`th of this run."""

    name: str
    number: int
    function: Callable[..., object]
    arguments: Sequence[object] = ()
    retry: Backoff | None = None
    max_attempts: int = 1
    in_transaction: bool = False

    def pause_after(self, error: Exception, failures: int) -> float:
        """Seconds until it is tried again; raises the error when it is not."""
        if self.retry is None or failures >= self.max_attempts or isinstance(error, HeadcountError):
            raise error
        return min(retry_delay(self.retry, failures, random.random), LONGEST_PAUSE)


def current_step() -> str | None:
    """The name of the step that the caller runs in."""
    return _current.get()


@contextmanager
def naming(step: Step) -> Iterator[None]:
    """What runs inside is part of this step."""
    token = _current.set(step.name)
    try:
        yield
    finally:
        _current.reset(token)
