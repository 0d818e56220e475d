"""Events that are due, from rows in memory: leased, published, and marked if the lease still stands.

Used by the tests of the relay and by the crash test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from daemon.orchestration import CompletedOrchestration
from tests.fakes.bus import at_once
from tests.fakes.due import PUBLISHING, REFUSED
from tests.fakes.rows import Group
from tests.fakes.tables import Tables
from tests.model.oracle import outcome_of

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EventLease:
    """A due event and the date that the lease left behind."""

    message: CompletedOrchestration
    publish_at: float

    @property
    def name(self) -> str:
        return str(self.message.id)


class MemoryDueEvents:
    """Due events."""

    def __init__(self, tables: Tables, pause: Callable[[str], Awaitable[None]] = at_once) -> None:
        self._tables, self._pause = tables, pause

    async def lease(self, limit: int) -> list[EventLease]:
        now = self._tables.now
        due = [
            (key, one) for key, one in self._tables.groups.items() if one.ended is not None and not one.event_published
        ]
        due = [(key, one) for key, one in due if (one.event_at or 0.0) <= now][:limit]
        for _, one in due:
            one.event_at = now + PUBLISHING
        leased = [EventLease(_completed(key, one), now + PUBLISHING) for key, one in due]
        await self._pause("leased")
        return leased

    async def confirm(self, leased: Sequence[EventLease]) -> None:
        for one in self._standing(leased):
            one.event_published = True

    async def pull_back(self, leased: Sequence[EventLease]) -> None:
        for one in self._standing(leased):
            one.event_at = self._tables.now

    async def refuse(self, leased: EventLease, reason: str) -> None:
        for one in self._standing([leased]):
            one.event_at = self._tables.now + REFUSED

    def _standing(self, leased: Sequence[EventLease]) -> list[Group]:
        groups = [(self._tables.groups[one.message.id], one) for one in leased]
        return [group for group, one in groups if group.event_at == one.publish_at and not group.event_published]


def _completed(key: UUID, one: Group) -> CompletedOrchestration:
    ended = EPOCH + timedelta(seconds=one.ended or 0.0)
    counts = (one.total, one.completed, one.errored, outcome_of(one.completed, one.errored))
    return CompletedOrchestration(key, 1, one.first.job_name, one.first.tags, *counts, EPOCH, ended)
