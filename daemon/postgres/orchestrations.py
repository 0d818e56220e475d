"""Creating and reading orchestrations: what clients and operators ask for.

Called by the client. Everything here is safe to repeat after a lost answer.
"""

from __future__ import annotations

import json
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import OrchestrationNotFound, RequestRefused
from daemon.job import JobError, JobMessage, Kind, Progress, Status
from daemon.orchestration import (
    Created,
    JobOutcome,
    NewOrchestration,
    OrchestrationState,
    Outcome,
    RunningInstance,
)
from daemon.outbox import OutboxItem
from daemon.postgres.statements import orchestrations as sql
from daemon.rules.messages import instance_id

CHUNK = 2_000
PAGE = 1_000
PUBLISH_GRACE = 10.0
PUBLISHED_A_SECOND = 2_000


class Orchestrations:
    """Creates and reads orchestrations."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, new: NewOrchestration, connection: AsyncConnection | None = None) -> Created:
        """Create an orchestration and its jobs, in the connection's transaction or in one of its own.

        Raises RequestRefused when the idempotency key belongs to an orchestration of another job or count.
        """
        if connection is not None:
            return await _create(connection, new, grace=0.0)
        async with self._engine.begin() as own:
            # Whoever creates many needs longer to publish them: until then no relay may take it for dead.
            return await _create(own, new, PUBLISH_GRACE + len(new.params) / PUBLISHED_A_SECOND)

    async def state(self, orchestration_id: UUID) -> OrchestrationState:
        """A snapshot of its counts. Raises OrchestrationNotFound."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(sql.STATE, {"id": orchestration_id})).mappings().first()
        if row is None:
            raise OrchestrationNotFound(f"no orchestration has the id {orchestration_id}")
        return _state(row)

    async def outcomes(
        self, orchestration_id: UUID, after: int = 0, status: Status | None = None, limit: int = PAGE
    ) -> list[JobOutcome]:
        """Finished instances in the order in which they finished, from after finish_number `after` on."""
        values = {"id": orchestration_id, "after": after, "status": status and status.value, "limit": limit}
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sql.OUTCOMES, values)).mappings().all()
        return [_outcome(row) for row in rows]

    async def running(self, orchestration_id: UUID, limit: int) -> list[RunningInstance]:
        """At most `limit` instances that workers run now, the longest running first."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sql.RUNNING, {"id": orchestration_id, "limit": limit})).mappings().all()
        return [RunningInstance(row["id"], row["index"], _progress(row)) for row in rows]


async def _create(connection: AsyncConnection, new: NewOrchestration, grace: float) -> Created:
    values = {
        "id": new.id,
        "job_name": new.job_name,
        "tags": json.dumps(dict(new.tags)),
        "total": len(new.params),
        "deadline": new.deadline_seconds,
        "idempotency_key": new.idempotency_key,
        "traceparent": new.traceparent,
        "parallelism": new.parallelism,
    }
    if (await connection.execute(sql.CREATE, values)).first() is None:
        return await _existing(connection, new)
    jobs: list[OutboxItem[JobMessage]] = []
    limits = await _limits(connection, new)
    for first in range(0, len(new.params), CHUNK):
        indexes = range(first, min(first + CHUNK, len(new.params)))
        jobs += await _create_jobs(connection, new, indexes, grace, limits)
    if new.parallelism is not None:
        await connection.execute(sql.GIVE_FIRST_PERMITS, {"id": new.id, "parallelism": new.parallelism})
    return Created(new.id, True, jobs)


async def _existing(connection: AsyncConnection, new: NewOrchestration) -> Created:
    row = (await connection.execute(sql.BY_KEY, {"idempotency_key": new.idempotency_key})).one()
    if row.job_name != new.job_name or row.total != len(new.params):
        owner = f"orchestration {row.id}: {row.total} x {row.job_name}"
        raise RequestRefused(f"the idempotency key {new.idempotency_key!r} belongs to {owner}")
    return Created(row.id, False, ())


async def _limits(connection: AsyncConnection, new: NewOrchestration) -> str:
    """The limits of its handler, as JSON. None where something else holds its jobs back already: they wait for one
    thing at a time."""
    if new.parallelism is not None or new.start_at is not None:
        return "[]"
    return (await connection.execute(sql.LIMITS, {"job_name": new.job_name})).scalar() or "[]"


async def _create_jobs(
    connection: AsyncConnection, new: NewOrchestration, indexes: range, grace: float, limits: str
) -> list[OutboxItem[JobMessage]]:
    """Those of them that are to be published now."""
    ids = {instance_id(new.id, index): index for index in indexes}
    rows = await connection.execute(
        sql.CREATE_JOBS,
        {
            "orchestration_id": new.id,
            "job_name": new.job_name,
            "start_at": new.start_at,
            "parallelism": new.parallelism,
            "tags": json.dumps(dict(new.tags)),
            "limits": limits,
            "grace": grace,
            "ids": list(ids),
            "indexes": list(indexes),
            "params": list(new.params[indexes.start : indexes.stop]),
        },
    )
    dates = {row.id: row.publish_at for row in rows if row.waits_limit is None}
    return [
        OutboxItem(job_id, 0, dates[job_id], _message(new, job_id, index))
        for job_id, index in ids.items()
        if job_id in dates
    ]


def _message(new: NewOrchestration, job_id: UUID, index: int) -> JobMessage:
    return JobMessage(
        job_name=new.job_name,
        job_id=job_id,
        orchestration_id=new.id,
        index=index,
        count=len(new.params),
        params=None,
        traceparent=new.traceparent,
    )


def _state(row: RowMapping) -> OrchestrationState:
    outcome = row["outcome"]
    return OrchestrationState(**{**row, "outcome": None if outcome is None else Outcome(outcome)})


def _progress(row: RowMapping) -> Progress:
    return Progress(row["progress_current"], row["progress_total"], row["progress_message"])


def _outcome(row: RowMapping) -> JobOutcome:
    error = row["error"]
    return JobOutcome(
        job_id=row["id"],
        index=row["index"],
        finish_number=row["finish_number"],
        status=Status(row["status"]),
        params=row["params"],
        result=row["result"],
        error=None if error is None else JobError(Kind(error["kind"]), error["message"], error.get("traceback")),
        attempt=row["attempt"],
        failures=row["failures"],
    )
