"""How many attempts run at once in this worker: of one handler (`concurrency`), by one executor, and in its memory.

Decided before a job is claimed.

Asked by the pipeline. What waits here has no claim: for the database its job is free, and nobody sees it as running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import anyio

from daemon.engine.attempt import Attempt
from daemon.engine.cancellation import TaskCancellation
from daemon.engine.memory import MemoryAdmission
from daemon.registry import Handler


class Turns:
    """The turns of every handler that has a `concurrency`, and those of the executors named in `places`."""

    def __init__(self, places: Mapping[str, int], memory: MemoryAdmission | None = None) -> None:
        self._memory = memory
        self._of_executors = {executor: anyio.Semaphore(count) for executor, count in places.items()}
        self._of_handlers: dict[str, anyio.Semaphore] = {}

    def is_needed(self, handler: Handler) -> bool:
        """Whether this handler's attempts wait for turns at all."""
        is_counted = handler.concurrency is not None or handler.executor in self._of_executors
        return is_counted or (self._memory is not None and self._memory.is_closed)

    async def wait(self, handler: Handler, attempt: Attempt) -> bool:
        """Wait for a turn; it is over when the handler is done.

        False when the attempt was asked to stop meanwhile, or there was no memory for it.
        """
        if attempt.signal.reason is not None:
            return False
        cancellation = TaskCancellation(asyncio.get_running_loop())
        attempt.waiting = True
        attempt.on_cancel(lambda _reason: cancellation.cancel())
        try:
            for turns in self._all(handler):
                await turns.acquire()
                attempt.releases.append(turns.release)
            if self._memory is not None:
                await self._memory.enter(handler, attempt)
        except TimeoutError:
            return False
        except asyncio.CancelledError as error:
            if not cancellation.is_ours(error):
                raise
            return False
        finally:
            attempt.waiting = False
            attempt.on_cancel(None)
            cancellation.close()
        return True

    def _all(self, handler: Handler) -> Iterator[anyio.Semaphore]:
        if handler.concurrency is not None:
            yield self._of_handlers.setdefault(handler.name, anyio.Semaphore(handler.concurrency))
        if handler.executor in self._of_executors:
            yield self._of_executors[handler.executor]
