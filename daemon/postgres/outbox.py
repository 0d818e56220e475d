"""Jobs and events that are due, leased so that no row is locked while they are published.

Called by the engine's relay and by the client, which publishes what it has just created. Whoever stops between lease
and publish leaves a date behind, on which another relay publishes the same message under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import JobMessage
from daemon.orchestration import CompletedOrchestration, Outcome
from daemon.outbox import Backlog, OutboxItem
from daemon.postgres.statements import outbox_events as event_sql
from daemon.postgres.statements import outbox_jobs as job_sql
from daemon.rules.storable import storable_text

# Longer than a publisher tries (15 s and one request more), so that two relays rarely publish the same.
PUBLISHING_SECONDS = 30.0
# The pauses of a message that Pub/Sub refuses, doubled from one to the next.
FIRST_REFUSAL_SECONDS = 5.0
LONGEST_REFUSAL_SECONDS = 600.0
MAX_EVENT_REFUSALS = 10  # about half an hour, with those pauses

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class _Statements(Generic[Message]):
    lease: TextClause
    mark_published: TextClause
    requeue: TextClause
    refuse: TextClause
    item: Callable[[RowMapping], OutboxItem[Message]]


class Outbox(Generic[Message]):
    """Leases what is due of one kind. What another one has taken, or moved on, since its lease is never touched."""

    def __init__(self, engine: AsyncEngine, statements: _Statements[Message], republish_after: float = 0.0) -> None:
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._statements = statements
        self._republish_after = republish_after

    async def lease(self, limit: int) -> list[OutboxItem[Message]]:
        """Take up to `limit` that are due: each is dated ahead a little, committed, and now ours to publish."""
        async with self._single.connect() as connection:
            values = {"limit": limit, "publishing": PUBLISHING_SECONDS}
            rows = await connection.execute(self._statements.lease, values)
            return [self._statements.item(row) for row in rows.mappings()]

    async def mark_published(self, items: Sequence[OutboxItem[Message]]) -> None:
        """They were published: an event is done, a job that is not claimed is due again after `republish_after`."""
        await self._update(self._statements.mark_published, items)

    async def requeue(self, items: Sequence[OutboxItem[Message]]) -> None:
        """The publish failed: due again at once."""
        await self._update(self._statements.requeue, items)

    async def refuse(self, item: OutboxItem[Message], reason: str) -> None:
        """Pub/Sub refuses it: due again after a pause that grows. An event is given up with `reason` at the tenth."""
        await self._update(self._statements.refuse, [item], reason)

    async def _update(self, statement: TextClause, items: Sequence[OutboxItem[Message]], reason: str = "") -> None:
        ordered = sorted(items, key=lambda item: item.id)
        values = {
            "ids": [item.id for item in ordered],
            "versions": [item.version for item in ordered],
            "seen": [item.publish_at for item in ordered],
            "republish_after": self._republish_after,
            "first": FIRST_REFUSAL_SECONDS,
            "longest": LONGEST_REFUSAL_SECONDS,
            "most": MAX_EVENT_REFUSALS,
            "reason": storable_text(reason),
        }
        async with self._single.connect() as connection:
            await connection.execute(statement, values)


class JobOutbox(Outbox[JobMessage]):
    """Due jobs."""

    def __init__(self, engine: AsyncEngine, republish_after: float) -> None:
        statements = _Statements(job_sql.LEASE, job_sql.MARK_PUBLISHED, job_sql.REQUEUE, job_sql.REFUSE, _job)
        super().__init__(engine, statements, republish_after)

    async def mark_first_published(self, items: Sequence[OutboxItem[JobMessage]]) -> None:
        """New jobs were published by their client, without a lease: date those that nobody has claimed far ahead."""
        await self._update(job_sql.MARK_FIRST_PUBLISHED, items)

    async def backlog(self) -> Backlog:
        """How much is due and unfinished, for the metrics."""
        async with self._single.connect() as connection:
            row = (await connection.execute(job_sql.BACKLOG)).one()
            oldest, oldest_unfinished = max(row.oldest or 0.0, 0.0), max(row.oldest_unfinished or 0.0, 0.0)
            return Backlog(row.due, oldest, row.refused, row.unfinished, oldest_unfinished)


class EventOutbox(Outbox[CompletedOrchestration]):
    """Due events."""

    def __init__(self, engine: AsyncEngine) -> None:
        statements = _Statements(event_sql.LEASE, event_sql.MARK_PUBLISHED, event_sql.REQUEUE, event_sql.REFUSE, _event)
        super().__init__(engine, statements)


def _job(row: RowMapping) -> OutboxItem[JobMessage]:
    message = JobMessage(
        job_name=row["job_name"],
        job_id=row["id"],
        orchestration_id=row["orchestration_id"],
        index=row["index"],
        count=row["total"],
        params=None,
        traceparent=row["traceparent"],
    )
    return OutboxItem(row["id"], row["attempt"], row["publish_at"], message)


def _event(row: RowMapping) -> OutboxItem[CompletedOrchestration]:
    event = CompletedOrchestration(
        id=row["id"],
        generation=row["generation"],
        job_name=row["job_name"],
        tags=row["tags"],
        total=row["total"],
        completed=row["completed"],
        errored=row["errored"],
        outcome=Outcome(row["outcome"]),
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        traceparent=row["traceparent"],
    )
    return OutboxItem(row["id"], row["generation"], row["event_publish_at"], event)
