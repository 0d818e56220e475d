"""What is due for publication, from rows in memory: leases of jobs.

Used by the tests of the relay and by the crash test. A lease is committed before it is handed out, as in the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from daemon.job import JobMessage
from tests.fakes.bus import at_once
from tests.fakes.tables import Tables

PUBLISHING = 30.0
REFUSED = 5.0


@dataclass(frozen=True)
class Lease:
    """A due job and the date that the lease left behind."""

    message: JobMessage
    publish_at: float
    attempt: int

    @property
    def name(self) -> str:
        return str(self.message.job_id)


class MemoryDue:
    """Due jobs. `republish_after` is how far ahead a published job is dated."""

    def __init__(
        self, tables: Tables, republish_after: float = 100.0, pause: Callable[[str], Awaitable[None]] = at_once
    ) -> None:
        self._tables, self._republish_after, self._pause = tables, republish_after, pause

    async def lease(self, limit: int) -> list[Lease]:
        now = self._tables.now
        due = [row for row in self._tables.jobs.values() if row.publish_at is not None and row.publish_at <= now]
        for row in due[:limit]:
            row.publish_at = now + PUBLISHING
        leased = [Lease(replace(row.message, params=None), now + PUBLISHING, row.attempt) for row in due[:limit]]
        await self._pause("leased")
        return leased

    async def confirm(self, leased: Sequence[Lease]) -> None:
        for one in leased:
            row = self._tables.jobs[one.message.job_id]
            if row.publish_at == one.publish_at and row.attempt == one.attempt:
                row.publish_at = self._tables.now + self._republish_after

    async def pull_back(self, leased: Sequence[Lease]) -> None:
        for one in leased:
            row = self._tables.jobs[one.message.job_id]
            if row.publish_at == one.publish_at and row.attempt == one.attempt:
                row.publish_at = self._tables.now

    async def refuse(self, leased: Lease, reason: str) -> None:
        row = self._tables.jobs[leased.message.job_id]
        if row.publish_at == leased.publish_at and row.attempt == leased.attempt:
            row.publish_at = self._tables.now + REFUSED
