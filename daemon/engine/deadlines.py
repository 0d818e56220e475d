"""Ends what must not go on: orchestrations whose deadline has passed, and cancels whose author went away half way.

Called by a ticker of every worker. A round takes small orchestrations and giants in turns, a slice each, for a bounded
time. A running handler of an ended job is cancelled by the next comparison of its own worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from daemon.observe import Observer
from daemon.orchestration import TerminatedSlice

ROUND_SECONDS = 1.0


class Terminations(Protocol):
    """Where orchestrations are ended: a slice of the smallest ones, or of those that are due for longest."""

    async def next_slice(self, *, longest_due: bool = False) -> TerminatedSlice: ...


class DeadlineEnforcer:
    """Ends what is overdue or cancelled."""

    def __init__(
        self,
        terminations: Terminations,
        observer: Observer,
        completed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminations = terminations
        self._observer = observer
        self._completed = completed
        self._clock = clock
        self._longest_due = False

    async def enforce(self) -> bool:
        """One round of at most a second; True when there may be more to end."""
        end = self._clock() + ROUND_SECONDS
        while self._clock() < end:
            part = await self._terminations.next_slice(longest_due=self._longest_due)
            if not part.worked:
                return False
            self._longest_due = not self._longest_due
            for orchestration_id, ended in part.by_deadline.items():
                self._observer.deadline_passed(orchestration_id, ended)
            if part.completes:
                self._completed()
        return True
