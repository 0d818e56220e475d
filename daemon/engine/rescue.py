"""The rescue loop's step: take back what dead workers hold, and report it.

Called by a ticker. Who is dead is decided by the statements in the database, never here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from daemon.observe import Observer


class RescuedWorker(Protocol):
    """What was taken back from one dead worker."""

    @property
    def worker_id(self) -> UUID:
        """Whose jobs they were."""
        ...

    @property
    def freed(self) -> int:
        """Jobs that run again."""
        ...

    @property
    def errored(self) -> int:
        """Jobs that lost too many workers."""
        ...

    @property
    def jobs(self) -> Sequence[UUID]:
        """Some of them, those that are Errored first."""
        ...

    @property
    def completes(self) -> bool:
        """Whether an orchestration completed by it."""
        ...


class Rescue(Protocol):
    """The transaction that takes jobs back."""

    async def rescue(self) -> Sequence[RescuedWorker]:
        """One round."""
        ...


class Rescuer:
    """Reports rescues, and wakes the relay when one completed an orchestration."""

    def __init__(self, rescue: Rescue, observer: Observer, completed: Callable[[], None]) -> None:
        self._rescue = rescue
        self._observer = observer
        self._completed = completed

    async def round(self) -> None:
        """One round of rescue."""
        for one in await self._rescue.rescue():
            self._observer.rescued(one.worker_id, one.freed, one.errored, one.jobs)
            if one.completes:
                self._completed()
