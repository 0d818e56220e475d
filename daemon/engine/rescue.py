"""The rescue loop's step: take back what dead workers hold, and report it.

Called by a ticker. Who is dead is decided by the statements in the database, never here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from daemon.job import RescuedWorker
from daemon.observe import Observer


class Rescue(Protocol):
    """The transaction that takes jobs back."""

    async def rescue(self) -> Sequence[RescuedWorker]: ...


class Rescuer:
    """Reports rescues, and wakes the relay when one completed an orchestration."""

    def __init__(self, rescue: Rescue, observer: Observer, completed: Callable[[], None]) -> None:
        self._rescue = rescue
        self._observer = observer
        self._completed = completed

    async def round(self) -> None:
        """One round of rescue."""
        for worker in await self._rescue.rescue():
            self._observer.rescued(worker.worker_id, worker.freed, worker.errored, worker.jobs)
            if worker.completes:
                self._completed()
