"""Pages of orchestrations, newest first.

Called by `headcount list`. Reading only; it never counts in the table of jobs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import OrchestrationNotFound
from daemon.orchestration import ListState, OrchestrationFilter, OrchestrationSummary, Outcome
from daemon.postgres.statements import listing as sql

AGES_AGO = 1e10  # seconds, three centuries: older than any row
LAST_ID = UUID(int=2**128 - 1)
FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)


async def list_orchestrations(
    engine: AsyncEngine, wanted: OrchestrationFilter, *, after: UUID | None = None, limit: int = 50
) -> list[OrchestrationSummary]:
    """At most `limit` of those that are `wanted`, newest first; with `after`, those that are older than that one.

    Raises OrchestrationNotFound when there is no orchestration with the id `after` (any more).
    """
    async with engine.connect() as connection:
        values = {
            "after_created_at": FAR_AHEAD if after is None else await _created_at(connection, after),
            "after_id": after or LAST_ID,
            # A second ahead: what was kicked off in this very moment is not younger than no age at all.
            "older_than": -1.0 if wanted.older_than is None else wanted.older_than,
            "newer_than": AGES_AGO if wanted.newer_than is None else wanted.newer_than,
            "job_name": wanted.job_name,
            "having_tags": json.dumps(dict(wanted.tags)),
            "kind": wanted.kind and wanted.kind.value,
            "limit": limit,
        }
        if wanted.state is ListState.RUNNING:
            rows = await connection.execute(sql.RUNNING, values)
        else:
            rows = await connection.execute(sql.ALL, {**values, "state": wanted.state and wanted.state.value})
        return [_summary(row) for row in rows.mappings()]


async def _created_at(connection: AsyncConnection, orchestration_id: UUID) -> datetime:
    found: datetime | None = (await connection.execute(sql.CREATED_AT, {"id": orchestration_id})).scalar()
    if found is None:
        raise OrchestrationNotFound(f"no orchestration has the id {orchestration_id}")
    return found


def _summary(row: RowMapping) -> OrchestrationSummary:
    outcome = None if row["outcome"] is None else Outcome(row["outcome"])
    return OrchestrationSummary(**{**row, "outcome": outcome})
