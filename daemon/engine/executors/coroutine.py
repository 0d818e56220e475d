"""`async def` handlers, on the event loop, in the task of their attempt.

One of the executors that the runner picks from. Cancelling a handler is cancelling that task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial

from daemon.engine.attempt import Attempt
from daemon.engine.cancellation import TaskCancellation
from daemon.engine.executors.results import failure_of, interruption_of, returned, stopped
from daemon.job import Result, StopReason
from daemon.registry import Handler


class CoroutineExecutor:
    """Awaits the handler. Results have at most `result_limit` bytes of JSON."""

    def __init__(self, result_limit: int) -> None:
        self._result_limit = result_limit
        self._loop = asyncio.get_running_loop()

    async def call(self, handler: Handler, arguments: Sequence[object], attempt: Attempt) -> Result:
        """See Executor."""
        if attempt.signal.reason is not None:
            return stopped(handler, attempt)
        cancellation = TaskCancellation(self._loop)
        attempt.on_cancel(lambda _reason: cancellation.cancel())
        if handler.timeout is not None:
            cancellation.call_later(handler.timeout, partial(attempt.cancel, StopReason.TIMED_OUT))
        try:
            called = handler.function(*arguments)
            assert isinstance(called, Awaitable), "discovery lets only `async def` be run on the event loop"
            return returned(await called, self._result_limit, handler.result)
        except BaseException as error:
            if cancellation.is_ours(error):
                return stopped(handler, attempt)
            if cancellation.is_from_outside(error):
                return interruption_of(error, attempt, cancellation)
            return failure_of(error, handler, attempt)
        finally:
            attempt.on_cancel(None)
            cancellation.close()
