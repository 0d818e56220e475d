"""What is due for publication, from rows in memory: leases of jobs, and events marked after they went out.

Used by the tests of the relay and by the crash test. A lease is committed before it is handed out, as in the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from daemon.job import JobMessage
from daemon.orchestration import CompletedOrchestration
from daemon.rules.events import outcome_of
from tests.fakes.bus import at_once
from tests.fakes.rows import Group
from tests.fakes.tables import Tables

PUBLISHING = 30.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Lease:
    """A due job and the date that the lease left behind."""

    message: JobMessage
    publish_at: float
    attempt: int


class MemoryDue:
    """Due jobs and events. `republish_after` is how far ahead a published job is dated."""

    def __init__(
        self, tables: Tables, republish_after: float = 100.0, pause: Callable[[str], Awaitable[None]] = at_once
    ) -> None:
        self._tables, self._republish_after, self._pause = tables, republish_after, pause

    async def lease(self, limit: int) -> list[Lease]:
        now = self._tables.now
        due = [row for row in self._tables.jobs.values() if row.publish_at is not None and row.publish_at <= now]
        for row in due[:limit]:
            row.publish_at = now + PUBLISHING
        leased = [
            Lease(replace(row.message, params=None, creates=False), now + PUBLISHING, row.attempt)
            for row in due[:limit]
        ]
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

    async def publish_events(
        self, limit: int, publish: Callable[[list[CompletedOrchestration]], Awaitable[None]]
    ) -> int:
        due = [(key, one) for key, one in self._tables.groups.items() if one.ended is not None and not one.told]
        if due:
            await publish([_completed(key, one) for key, one in due[:limit]])
        for _, one in due[:limit]:
            one.told = True
        return len(due[:limit])


def _completed(key: UUID, one: Group) -> CompletedOrchestration:
    ended = EPOCH + timedelta(seconds=one.ended or 0.0)
    counts = (one.total, one.completed, one.errored, outcome_of(one.completed, one.errored))
    return CompletedOrchestration(key, 1, one.first.job_name, one.first.tags, *counts, EPOCH, ended)
