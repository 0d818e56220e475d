"""The outbox of jobs, from rows in memory.

Used by the tests of the relay and by the crash test. A lease is committed before it is handed out, as in the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from daemon.job import JobMessage
from daemon.outbox import OutboxItem
from tests.fakes.bus import at_once
from tests.fakes.rows import Row
from tests.fakes.tables import Tables

PUBLISHING = 30.0
REFUSED = 5.0


class MemoryJobOutbox:
    """Due jobs. `republish_after` is how far ahead a published job is dated."""

    def __init__(
        self, tables: Tables, republish_after: float = 100.0, pause: Callable[[str], Awaitable[None]] = at_once
    ) -> None:
        self._tables, self._republish_after, self._pause = tables, republish_after, pause

    async def lease(self, limit: int) -> list[OutboxItem[JobMessage]]:
        now = self._tables.now
        due = [row for row in self._tables.jobs.values() if row.publish_at is not None and row.publish_at <= now]
        for row in due[:limit]:
            row.publish_at = now + PUBLISHING
        date = datetime.fromtimestamp(now + PUBLISHING, UTC)
        items = [
            OutboxItem(row.message.job_id, row.attempt, date, replace(row.message, params=None)) for row in due[:limit]
        ]
        await self._pause("leased")
        return items

    async def mark_published(self, items: Sequence[OutboxItem[JobMessage]]) -> None:
        for row in self._leased(items):
            row.publish_at = self._tables.now + self._republish_after

    async def requeue(self, items: Sequence[OutboxItem[JobMessage]]) -> None:
        for row in self._leased(items):
            row.publish_at = self._tables.now

    async def refuse(self, item: OutboxItem[JobMessage], reason: str) -> None:
        for row in self._leased([item]):
            row.publish_at = self._tables.now + REFUSED

    def _leased(self, items: Sequence[OutboxItem[JobMessage]]) -> list[Row]:
        rows = [(self._tables.jobs[item.id], item) for item in items]
        return [row for row, item in rows if at(row.publish_at) == item.publish_at and row.attempt == item.version]


def at(seconds: float | None) -> datetime | None:
    """The date of a row in memory."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
