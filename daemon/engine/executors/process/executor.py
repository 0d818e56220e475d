"""Plain `def` handlers with `executor="process"`, each in a child process.

The worker keeps the time: a handler beyond its timeout is asked to stop, and its process is killed if it goes on, also
when it is deep in C code. An attempt ends with its process, so its job never runs here and elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from daemon.engine.attempt import Attempt
from daemon.engine.cancellation import TaskCancellation
from daemon.engine.executors.process.child_process import PIPE_CLOSED, ChildProcess
from daemon.engine.executors.process.messages import EXIT_PIPE_CLOSED
from daemon.engine.executors.process.pool import ProcessPool
from daemon.engine.executors.results import stopped
from daemon.job import Claim, Failed, JobError, Kind, Result, StopReason
from daemon.recorder import Recorder
from daemon.registry import Handler
from daemon.rules.exit_status import exit_status

GRACE_SECONDS = 5.0


class ProcessExecutor:
    """Calls handlers in the children of a pool. After its timeout one has `grace` seconds to notice that.

    `until_alone` is awaited first: a job that was ended for its memory waits there until no other runs.
    """

    def __init__(
        self,
        pool: ProcessPool,
        recorder: Recorder,
        grace: float = GRACE_SECONDS,
        until_alone: Callable[[Attempt], Awaitable[None]] | None = None,
    ) -> None:
        self._until_alone = until_alone
        self._pool = pool
        self._recorder = recorder
        self._grace = grace
        self._loop = asyncio.get_running_loop()

    async def call(self, handler: Handler, arguments: Sequence[object], attempt: Attempt) -> Result:
        """See Executor. The child makes its own arguments from the claim: nothing is pickled."""
        assert attempt.claim is not None, "only what is claimed is run"
        child = await self._acquire(attempt)
        if child is None:
            return stopped(handler, attempt)
        try:
            return await self._run(child, handler, attempt.claim, attempt)
        except BaseException:  # the loop is being closed
            child.kill()
            raise
        finally:
            self._pool.release(child)

    async def _acquire(self, attempt: Attempt) -> ChildProcess | None:
        """A child; None when the attempt is cancelled while it waits for one."""
        if attempt.signal.reason is not None:
            return None
        cancellation = TaskCancellation(self._loop)
        attempt.on_cancel(lambda _reason: cancellation.cancel())
        try:
            if self._until_alone is not None:
                await self._until_alone(attempt)
            return await self._pool.acquire()
        except asyncio.CancelledError as error:
            if not cancellation.is_ours(error):
                raise
            return None
        finally:
            attempt.on_cancel(None)
            cancellation.close()

    async def _run(self, child: ChildProcess, handler: Handler, claim: Claim, attempt: Attempt) -> Result:
        memory = None if handler.memory_mib is None else handler.memory_mib * 1024 * 1024
        run = child.begin(claim, handler.timeout, memory, self._recorder)
        attempt.on_cancel(lambda _reason: child.terminate())
        attempt.signal.on_set(child.ask_to_stop)
        timers: list[asyncio.TimerHandle] = []
        if handler.timeout is not None:
            timers.append(self._loop.call_later(handler.timeout, self._time_is_up, attempt, timers))
        try:
            ended = await run.ended
        finally:
            attempt.on_cancel(None)
            attempt.signal.on_set(None)
            for timer in timers:
                timer.cancel()
        is_cancelled = attempt.cancelled_at is not None
        if ended is not None and not (is_cancelled and attempt.signal.reason is StopReason.TIMED_OUT):
            return ended
        if is_cancelled:
            await child.exited.wait()
            return stopped(handler, attempt)
        if child.eviction is not None:
            return child.eviction
        return Failed(JobError(Kind.PROCESS_DIED, f"the handler's process ended: {_why(child)}"))

    def _time_is_up(self, attempt: Attempt, timers: list[asyncio.TimerHandle]) -> None:
        attempt.signal.set(StopReason.TIMED_OUT)
        timers.append(self._loop.call_later(self._grace, attempt.cancel, StopReason.TIMED_OUT))


def _why(child: ChildProcess) -> str:
    assert child.code is not None, "it has ended"
    if child.code == EXIT_PIPE_CLOSED:
        return PIPE_CLOSED
    return child.cause or exit_status(child.code)
