"""The outbox of events, from rows in memory: what was published is marked if its lease still stands.

Used by the tests of the relay and by the crash test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from daemon.orchestration import CompletedOrchestration
from daemon.outbox import OutboxItem
from tests.fakes.bus import at_once
from tests.fakes.job_outbox import PUBLISHING, REFUSED, at
from tests.fakes.rows import Group
from tests.fakes.tables import Tables
from tests.model.oracle import outcome_of

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryEventOutbox:
    """Due events."""

    def __init__(self, tables: Tables, pause: Callable[[str], Awaitable[None]] = at_once) -> None:
        self._tables, self._pause = tables, pause

    async def lease(self, limit: int) -> list[OutboxItem[CompletedOrchestration]]:
        now = self._tables.now
        due = [
            (key, one) for key, one in self._tables.groups.items() if one.ended is not None and not one.event_published
        ]
        due = [(key, one) for key, one in due if (one.event_at or 0.0) <= now][:limit]
        for _, one in due:
            one.event_at = now + PUBLISHING
        items = [
            OutboxItem(key, 1, datetime.fromtimestamp(now + PUBLISHING, UTC), _completed(key, one)) for key, one in due
        ]
        await self._pause("leased")
        return items

    async def mark_published(self, items: Sequence[OutboxItem[CompletedOrchestration]]) -> None:
        for group in self._leased(items):
            group.event_published = True

    async def requeue(self, items: Sequence[OutboxItem[CompletedOrchestration]]) -> None:
        for group in self._leased(items):
            group.event_at = self._tables.now

    async def refuse(self, item: OutboxItem[CompletedOrchestration], reason: str) -> None:
        for group in self._leased([item]):
            group.event_at = self._tables.now + REFUSED

    def _leased(self, items: Sequence[OutboxItem[CompletedOrchestration]]) -> list[Group]:
        groups = [(self._tables.groups[item.id], item) for item in items]
        return [group for group, item in groups if at(group.event_at) == item.publish_at and not group.event_published]


def _completed(key: UUID, one: Group) -> CompletedOrchestration:
    ended = EPOCH + timedelta(seconds=one.ended or 0.0)
    counts = (one.total, one.completed, one.errored, outcome_of(one.completed, one.errored))
    return CompletedOrchestration(key, 1, one.first.job_name, one.first.tags, *counts, EPOCH, ended)
