"""What is due for publication, leased so that a crash between commit and publish leaves a date behind.

Called by the engine's relay and by the client's fast path. Events are in `events`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import JobMessage
from daemon.postgres.statements import due as sql

# Longer than a publisher tries (15 s and one request more), so that two relays rarely publish the same.
PUBLISHING_SECONDS = 30.0
# The pauses of a message that Pub/Sub refuses, doubled from one to the next.
FIRST_REFUSAL_SECONDS = 5.0
LONGEST_REFUSAL_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Leased:
    """A job whose message must be published now, and the date that the lease left behind."""

    message: JobMessage
    publish_at: datetime
    attempt: int

    @property
    def name(self) -> str:
        """The job's id."""
        return str(self.message.job_id)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is due, unfinished and given up; ages in seconds, 0 when there is nothing."""

    due: int
    oldest: float
    refused_events: int
    unfinished: int
    oldest_unfinished: float


class Due:
    """Leases due jobs."""

    def __init__(self, engine: AsyncEngine, republish_after: float) -> None:
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

    async def refuse(self, leased: Leased, reason: str) -> None:
        """Pub/Sub refuses this message: it is due again after a pause that grows. `reason` is not kept for a job."""
        values = {"first": FIRST_REFUSAL_SECONDS, "longest": LONGEST_REFUSAL_SECONDS}
        await self._date(sql.REFUSE, [leased], values)

    async def _date(self, statement: TextClause, leased: Sequence[Leased], values: Mapping[str, object]) -> None:
        rows = sorted(leased, key=lambda one: one.message.job_id)
        ids: dict[str, object] = {
            "ids": [one.message.job_id for one in rows],
            "seen": [one.publish_at for one in rows],
            "attempts": [one.attempt for one in rows],
        }
        async with self._single.connect() as connection:
            await connection.execute(statement, {**ids, **values})

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

    async def backlog(self) -> Backlog:
        """How much is due and unfinished, for the metrics."""
        async with self._single.connect() as connection:
            row = (await connection.execute(sql.BACKLOG)).one()
            oldest, oldest_unfinished = max(row.oldest or 0.0, 0.0), max(row.oldest_unfinished or 0.0, 0.0)
            return Backlog(row.due, oldest, row.refused, row.unfinished, oldest_unfinished)


def _leased(row: RowMapping) -> Leased:
    message = JobMessage(
        job_name=row["job_name"],
        job_id=row["id"],
        orchestration_id=row["orchestration_id"],
        index=row["index"],
        count=row["total"],
        params=None,
        traceparent=row["traceparent"],
    )
    return Leased(message, row["publish_at"], row["attempt"])
