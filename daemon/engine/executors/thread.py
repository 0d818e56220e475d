"""Plain `def` handlers, each in a thread of its own.

Nothing stops a thread: its attempt goes on, with its claim and its slot, until it has ended, unless the process ends
before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.cancellation import TaskCancellation
from daemon.engine.executors.results import failure_of, interruption_of, returned, stopped
from daemon.job import Claim, Result, StopReason
from daemon.observe import Observer
from daemon.registry import Handler

GRACE_SECONDS = 5.0
COMPUTED_SECONDS = 1.0


class ThreadExecutor:
    """At a timeout the handler is asked to stop, and has `grace` seconds to notice; a drain leaves its thread."""

    def __init__(
        self,
        result_limit: int,
        threads: int,
        in_flight: InFlight,
        observer: Observer,
        exit_in: Callable[[], float],
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._result_limit = result_limit
        self._loop = asyncio.get_running_loop()
        self._threads = anyio.CapacityLimiter(threads)  # an attempt keeps its slot for as long as its thread runs
        self._in_flight = in_flight
        self._observer = observer
        self._exit_in = exit_in
        self._grace = grace

    async def call(self, handler: Handler, arguments: Sequence[object], attempt: Attempt) -> Result:
        """See Executor."""
        if attempt.signal.reason is not None:
            return stopped(handler, attempt)
        cancellation = TaskCancellation(self._loop)
        attempt.in_thread = True
        attempt.on_cancel(lambda reason: cancellation.cancel() if reason is StopReason.DRAINING else None)
        if handler.timeout is not None:
            cancellation.call_later(handler.timeout, partial(self._time_is_up, attempt, cancellation))
        try:
            value = await anyio.to_thread.run_sync(
                self._plain, handler.function, arguments, attempt.claim, abandon_on_cancel=True, limiter=self._threads
            )
            if _has_overrun(attempt):
                return stopped(handler, attempt)
            return returned(value, self._result_limit, handler.result)
        except BaseException as error:
            if cancellation.is_ours(error):
                return self._leave_thread(handler, attempt)
            if cancellation.is_from_outside(error):
                return interruption_of(error, attempt, cancellation)
            return stopped(handler, attempt) if _has_overrun(attempt) else failure_of(error, handler, attempt)
        finally:
            attempt.on_cancel(None)
            cancellation.close()

    def _plain(self, function: Callable[..., object], arguments: Sequence[object], claim: Claim | None) -> object:
        began = time.thread_time()
        try:
            return function(*arguments)
        except GeneratorExit as error:  # on its way out of a thread it would close the coroutines that wait for it
            raise RuntimeError("the handler raised GeneratorExit") from error
        finally:
            computed = time.thread_time() - began
            if claim is not None and computed > COMPUTED_SECONDS:
                self._observer.thread_computed(claim, computed)

    def _time_is_up(self, attempt: Attempt, cancellation: TaskCancellation) -> None:
        attempt.signal.set(StopReason.TIMED_OUT)
        cancellation.call_later(self._grace, partial(attempt.cancel, StopReason.TIMED_OUT))

    def _leave_thread(self, handler: Handler, attempt: Attempt) -> Result:
        """The process ends with this thread still running, so its job begins elsewhere only after that."""
        self._in_flight.left_threads = True
        if attempt.claim is not None:
            self._observer.handler_stuck(attempt.claim, 0.0)  # nobody watches its thread from here on
        return replace(stopped(handler, attempt), still_runs_for=self._exit_in() + 1.0)


def _has_overrun(attempt: Attempt) -> bool:
    """Whether a thread has ended after its timeout and the grace that it had to notice it."""
    return attempt.cancelled_at is not None and attempt.signal.reason is StopReason.TIMED_OUT
