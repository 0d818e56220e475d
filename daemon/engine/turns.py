"""How many attempts of one handler run at once in this worker: `concurrency`, decided before a job is claimed.

Asked by the pipeline. What waits here has no claim: for the database its job is free, and nobody sees it as running.
"""

from __future__ import annotations

import asyncio

import anyio

from daemon.engine.attempt import Attempt
from daemon.engine.cancellation import TaskCancellation
from daemon.registry import Handler


class Turns:
    """The turns of every handler that has a `concurrency`."""

    def __init__(self) -> None:
        self._turns: dict[str, anyio.Semaphore] = {}

    async def wait(self, handler: Handler, attempt: Attempt) -> bool:
        """Wait for a turn; it is over when the handler is done. False when the attempt was asked to stop meanwhile."""
        assert handler.concurrency is not None, "other handlers need no turn"
        turns = self._turns.setdefault(handler.name, anyio.Semaphore(handler.concurrency))
        if attempt.signal.reason is not None:
            return False
        cancellation = TaskCancellation(asyncio.get_running_loop())
        attempt.waiting = True
        attempt.on_cancel(lambda _reason: cancellation.cancel())
        try:
            await turns.acquire()
        except asyncio.CancelledError as error:
            if not cancellation.is_ours(error):
                raise
            return False
        finally:
            attempt.waiting = False
            attempt.on_cancel(None)
            cancellation.close()
        attempt.releases.append(turns.release)
        return True
