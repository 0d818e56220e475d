"""Events that are due for publication, leased so that no row is locked across the network.

Called by the engine's relay. A relay that stops between lease and confirmation leaves a date behind, on which another
one publishes the same event under the same id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.orchestration import CompletedOrchestration, Outcome
from daemon.postgres.due import FIRST_REFUSAL_SECONDS, LONGEST_REFUSAL_SECONDS, PUBLISHING_SECONDS
from daemon.postgres.statements import events as sql
from daemon.rules.storable import storable_text

MOST_REFUSALS = 10  # about half an hour, with those pauses


@dataclass(frozen=True, slots=True)
class LeasedEvent:
    """An event that must be published now, and the date that the lease left behind."""

    message: CompletedOrchestration
    publish_at: datetime

    @property
    def name(self) -> str:
        """The orchestration's id."""
        return str(self.message.id)


class DueEvents:
    """Leases due events."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def lease(self, limit: int) -> list[LeasedEvent]:
        """Take up to `limit` due events: each is dated ahead a little, committed, and now ours to publish."""
        async with self._single.connect() as connection:
            rows = await connection.execute(sql.LEASE, {"limit": limit, "publishing": PUBLISHING_SECONDS})
            return [_leased(row) for row in rows.mappings()]

    async def confirm(self, leased: Sequence[LeasedEvent]) -> None:
        """They were published: those whose lease still stands are marked."""
        await self._date(sql.CONFIRM, leased, {})

    async def pull_back(self, leased: Sequence[LeasedEvent]) -> None:
        """The publish failed: those whose lease still stands are due again at once."""
        await self._date(sql.PULL_BACK, leased, {})

    async def refuse(self, leased: LeasedEvent, reason: str) -> None:
        """Pub/Sub refuses this event: due again after a pause that grows, or given up with its reason at the tenth."""
        pauses = {"first": FIRST_REFUSAL_SECONDS, "longest": LONGEST_REFUSAL_SECONDS}
        await self._date(sql.REFUSE, [leased], {**pauses, "most": MOST_REFUSALS, "reason": storable_text(reason)})

    async def _date(self, statement: TextClause, leased: Sequence[LeasedEvent], values: Mapping[str, object]) -> None:
        rows = sorted(leased, key=lambda one: one.message.id)
        ids = {
            "ids": [one.message.id for one in rows],
            "generations": [one.message.generation for one in rows],
            "seen": [one.publish_at for one in rows],
        }
        async with self._single.connect() as connection:
            await connection.execute(statement, {**ids, **values})


def _leased(row: RowMapping) -> LeasedEvent:
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
    return LeasedEvent(event, row["event_publish_at"])
