"""What is due for publication, leased so that a crash between commit and publish leaves a date behind.

Called by the engine's relay and by the client's fast path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import JobMessage
from daemon.orchestration import CompletedOrchestration, Outcome
from daemon.postgres.statements import due as sql

# Longer than a publisher tries (15 s and one request more), so that two relays rarely publish the same.
PUBLISHING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Leased:
    """A job whose message must be published now, and the date that the lease left behind."""

    message: JobMessage
    publish_at: datetime
    attempt: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is due and unfinished; ages in seconds, 0 when there is nothing."""

    due: int
    oldest: float
    unfinished: int
    oldest_unfinished: float


class Due:
    """Leases due jobs and hands out due events."""

    def __init__(self, engine: AsyncEngine, republish_after: float) -> None:
        self._engine = engine
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._republish_after = republish_after

    async def lease(self, limit: int) -> list[Leased]:
        """Take up to `limit` due jobs: each is dated ahead a little, committed, and now ours to publish."""
        async with self._single.connect() as connection:
            rows = await connection.execute(sql.LEASE, {"limit": limit, "publishing": PUBLISHING_SECONDS})
            return [_leased(row) for row in rows.mappings()]

    async def confirm(self, leased: Sequence[Leased]) -> None:
        """They were published: what nobody has claimed or dated since is due again only after republish_after."""
        await self._date(sql.CONFIRM, leased, {"republish_after": self._republish_after})

    async def pull_back(self, leased: Sequence[Leased]) -> None:
        """The publish failed: what nobody has claimed or dated since is due again at once."""
        await self._date(sql.PULL_BACK, leased, {})

    async def _date(self, statement: TextClause, leased: Sequence[Leased], values: dict[str, object]) -> None:
        rows = sorted(leased, key=lambda one: one.message.job_id)
        ids: dict[str, object] = {
            "ids": [one.message.job_id for one in rows],
            "seen": [one.publish_at for one in rows],
            "attempts": [one.attempt for one in rows],
        }
        async with self._single.connect() as connection:
            await connection.execute(statement, ids | values)

    async def push(self, jobs: Sequence[tuple[UUID, datetime]]) -> None:
        """New jobs were published by the fast path: date those that nobody has claimed since far ahead."""
        rows = sorted(jobs)
        async with self._single.connect() as connection:
            await connection.execute(
                sql.PUSH,
                {
                    "ids": [job_id for job_id, _ in rows],
                    "seen": [seen for _, seen in rows],
                    "republish_after": self._republish_after,
                },
            )

    async def publish_events(
        self, limit: int, publish: Callable[[list[CompletedOrchestration]], Awaitable[None]]
    ) -> int:
        """Publish up to `limit` due events and mark them; nobody else publishes them meanwhile. How many there were.

        The rows stay locked while `publish` runs, and nothing but an operator's retry wants them. If it raises,
        nothing is marked and the events stay due.
        """
        async with self._engine.begin() as connection:
            rows = (await connection.execute(sql.EVENTS, {"limit": limit})).all()
            if not rows:
                return 0
            await publish(
                [
                    CompletedOrchestration(
                        id=row.id,
                        generation=row.generation,
                        job_name=row.job_name,
                        tags=row.tags,
                        total=row.total,
                        completed=row.completed,
                        errored=row.errored,
                        outcome=Outcome(row.outcome),
                        created_at=row.created_at,
                        completed_at=row.completed_at,
                        traceparent=row.traceparent,
                    )
                    for row in rows
                ]
            )
            ordered = sorted(rows, key=lambda row: row.id)
            await connection.execute(
                sql.EVENTS_PUBLISHED,
                {"ids": [row.id for row in ordered], "generations": [row.generation for row in ordered]},
            )
            return len(rows)

    async def backlog(self) -> Backlog:
        """How much is due and unfinished, for the metrics."""
        async with self._single.connect() as connection:
            row = (await connection.execute(sql.BACKLOG)).one()
            return Backlog(row.due, max(row.oldest or 0.0, 0.0), row.unfinished, max(row.oldest_unfinished or 0.0, 0.0))


def _leased(row: RowMapping) -> Leased:
    message = JobMessage(
        job_name=row["job_name"],
        job_id=row["id"],
        orchestration_id=row["orchestration_id"],
        index=row["index"],
        count=row["total"],
        params=None,
        creates=False,
        traceparent=row["traceparent"],
    )
    return Leased(message, row["publish_at"], row["attempt"])
