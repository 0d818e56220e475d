"""Cancelling the task that awaits a handler, and telling our own cancellations from those of others.

Used by the executors that run in the task of an attempt, and while an attempt waits for its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

CLEAN_UP_SECONDS = 1.0


class TaskCancellation:
    """Cancels the current task when asked to, and again each second while it goes on regardless.

    `close` takes back every cancellation that was asked for here, whether the handler let it through or swallowed it.
    (A cancel scope of anyio does it for 6 us a job.)
    """

    __slots__ = ("_cancels", "_loop", "_task", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.current_task(loop)  # named: asking for the running loop is a system call each time
        assert task is not None, "an attempt runs in a task"
        self._task = task
        self._loop = loop
        self._cancels = 0
        self._timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Cancel the task."""
        self._cancels += 1
        self._task.cancel()
        self.call_later(CLEAN_UP_SECONDS, self.cancel)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function, unless the next call of this or `close` comes first."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, function)

    def close(self) -> None:
        """Nothing is cancelled from here on."""
        if self._timer is not None:
            self._timer.cancel()
        while self._cancels:
            self._cancels -= 1
            self._task.uncancel()

    def is_ours(self, error: BaseException) -> bool:
        """Whether the task was interrupted because `cancel` was called."""
        return isinstance(error, asyncio.CancelledError) and 0 < self._task.cancelling() <= self._cancels

    def is_from_outside(self, error: BaseException) -> bool:
        """Whether others interrupt the task: its loop is being closed, or the handler cancelled its own task."""
        if isinstance(error, GeneratorExit):
            return self._is_closed_by_another()
        return isinstance(error, asyncio.CancelledError) and self._task.cancelling() > self._cancels

    def forget(self) -> None:
        """Take back the cancellations of others too."""
        while self._task.cancelling() > self._cancels:
            self._task.uncancel()

    def _is_closed_by_another(self) -> bool:
        """Whether this coroutine is being closed (with its loop) instead of being run by its task."""
        try:
            return asyncio.current_task() is not self._task
        except RuntimeError:
            return True
