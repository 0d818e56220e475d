"""Ends orchestrations from outside: a passed deadline, and a cancel whose author went away half way.

Called by a ticker. A running handler of an ended job is cancelled by the next comparison of the lifeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from daemon.job import JobError, Kind
from daemon.observe import Observer

DEADLINE = JobError(Kind.DEADLINE_EXCEEDED, "the orchestration's deadline passed before this instance finished")
CANCELLED = JobError(Kind.CANCELLED, "the orchestration was cancelled")


class Orchestrations(Protocol):
    """Where orchestrations are found and ended."""

    async def past_deadline(self) -> Sequence[UUID]:
        """Unfinished ones whose deadline has passed."""
        ...

    async def cancelled_unfinished(self) -> Sequence[UUID]:
        """Cancelled ones with unfinished instances."""
        ...

    async def end_unfinished(self, orchestration_id: UUID, error: JobError) -> int:
        """End every unfinished instance; how many."""
        ...


class Closer:
    """Ends what must not go on."""

    def __init__(self, orchestrations: Orchestrations, observer: Observer, completed: Callable[[], None]) -> None:
        self._orchestrations = orchestrations
        self._observer = observer
        self._completed = completed

    async def close_due(self) -> None:
        """One round."""
        for orchestration_id in await self._orchestrations.past_deadline():
            ended = await self._orchestrations.end_unfinished(orchestration_id, DEADLINE)
            if ended:
                self._observer.deadline_passed(orchestration_id, ended)
                self._completed()
        for orchestration_id in await self._orchestrations.cancelled_unfinished():
            if await self._orchestrations.end_unfinished(orchestration_id, CANCELLED):
                self._completed()
