"""What operators read: pages of orchestrations, why something is not finished, workers, rejected messages.

Called by the command line. It reads only; what operators change is in `maintenance`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import OrchestrationNotFound
from daemon.inspection import (
    Explanation,
    FailedAttempt,
    HandlerDescription,
    JobExplanation,
    JobRow,
    JobSnapshot,
    JobSummary,
    Redelivery,
    RejectedBody,
    RejectedExample,
    RejectedMessage,
    RejectedSummary,
    ReplayCandidate,
    StepSummary,
    Verdict,
    Violation,
    WorkerStatus,
)
from daemon.job import Status
from daemon.orchestration import ListState, OrchestrationFilter, OrchestrationState, OrchestrationSummary, Outcome
from daemon.postgres.handlers import secrets_in_params
from daemon.postgres.orchestrations import Orchestrations
from daemon.postgres.statements import explain as sql
from daemon.postgres.statements import handlers as handlers_sql
from daemon.postgres.statements import listing as listing_sql
from daemon.postgres.statements import rejected as rejected_sql
from daemon.postgres.statements import workers as worker_sql
from daemon.postgres.sweep import verify

EXAMPLES = 5
LAST_NUMBER = 2**63 - 1
AGES_AGO = 1e10  # seconds, three centuries: older than any row
LAST_ID = UUID(int=2**128 - 1)
FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)

Record = TypeVar("Record")


class Queries:
    """Answers operators' questions from the rows, in records."""

    def __init__(self, engine: AsyncEngine, worker_ttl: float) -> None:
        self._engine = engine
        self._ttl = worker_ttl

    async def orchestrations(
        self, wanted: OrchestrationFilter, after: UUID | None = None, limit: int = 50
    ) -> list[OrchestrationSummary]:
        """At most `limit` of those that are `wanted`, newest first; with `after`, those that are older than that one.

        Raises OrchestrationNotFound when there is no orchestration with the id `after` (any more).
        """
        async with self._engine.connect() as connection:
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
                rows = await connection.execute(listing_sql.RUNNING, values)
            else:
                values["state"] = wanted.state and wanted.state.value
                rows = await connection.execute(listing_sql.ALL, values)
            return [
                OrchestrationSummary(**{**row, "outcome": row["outcome"] and Outcome(row["outcome"])})
                for row in rows.mappings()
            ]

    async def jobs(self, orchestration_id: UUID, after: int = -1, limit: int = 50) -> list[JobSummary]:
        """Jobs of an orchestration by index, from after the index `after` on."""
        return await self._all(JobSummary, listing_sql.JOBS, {"id": orchestration_id, "after": after, "limit": limit})

    async def handlers(self) -> list[HandlerDescription]:
        """Every handler that a worker has described, as the revision that started last has it, by name."""
        return await self._all(HandlerDescription, handlers_sql.NEWEST, {})

    async def explain(self, orchestration_id: UUID) -> Explanation:
        """Every reason why an orchestration is not finished. Raises OrchestrationNotFound."""
        state = await Orchestrations(self._engine).state(orchestration_id)
        verdicts = await self._verdicts(orchestration_id, None)
        async with self._engine.connect() as connection:
            registered = (await connection.execute(sql.REGISTERED, {"id": orchestration_id})).scalar_one()
            values = {"id": orchestration_id, "examples": EXAMPLES}
            rejected = (await connection.execute(sql.REJECTED, values)).all()
        if registered < state.total and state.completed_at is None:
            verdicts.append(Verdict("NOT_YET_ARRIVED", state.total - registered))
        if rejected:
            examples = tuple(RejectedExample(row.id, row.reason, row.text) for row in rejected)
            verdicts.append(Verdict("MESSAGES_REJECTED", rejected[0].alike, rejected=examples))
        if state.cancelled_at is not None and state.completed_at is None:
            verdicts.append(Verdict("CANCELLED", state.total - state.finished))
        if state.completed_at is not None:
            verdicts.append(Verdict(_of_complete(state), state.total))
        return Explanation(state, tuple(verdicts))

    async def explain_job(self, job_id: UUID) -> JobExplanation:
        """Where one job stands and what happened to it. Raises OrchestrationNotFound when no job has the id."""
        job = await self._all(JobRow, sql.JOB, {"id": job_id})
        if not job:
            raise OrchestrationNotFound(f"no orchestration and no job has the id {job_id}")
        verdicts = await self._verdicts(None, job_id) if job[0].status == Status.IN_PROGRESS else []
        return JobExplanation(
            job[0],
            verdicts[0] if verdicts else None,
            tuple(await self._all(FailedAttempt, sql.HISTORY, {"id": job_id})),
            tuple(await self._all(Redelivery, sql.REDELIVERIES, {"id": job_id})),
            tuple(await self._all(StepSummary, sql.STEPS, {"id": job_id})),
        )

    async def secrets_in_params(self, job_name: str) -> tuple[str, ...]:
        """Pointers to what is to be masked in the params of a job."""
        return await secrets_in_params(self._engine, job_name)

    async def workers(self) -> list[WorkerStatus]:
        """Every registered worker."""
        return await self._all(WorkerStatus, worker_sql.LIST, {})

    async def verify(self) -> list[Violation]:
        """Every broken invariant; writes nothing."""
        return await verify(self._engine, self._ttl)

    async def rejected(
        self, after: int | None, reason: str | None, limit: int, *, newest: bool = False
    ) -> list[RejectedSummary]:
        """Rejected messages by number, rising or (newest) falling, from after number `after` on, without bodies."""
        statement, beginning = (rejected_sql.LIST_NEWEST, LAST_NUMBER) if newest else (rejected_sql.LIST, 0)
        values = {"after": beginning if after is None else after, "reason": reason, "limit": limit}
        return await self._all(RejectedSummary, statement, values)

    async def replay_candidates(self, number: int | None, reason: str | None) -> list[ReplayCandidate]:
        """The message of that number; without one all that were not replayed yet (of a reason, if one is given)."""
        if number is not None:
            return await self._all(ReplayCandidate, rejected_sql.CANDIDATE, {"id": number})
        return await self._all(ReplayCandidate, rejected_sql.CANDIDATES, {"reason": reason})

    async def rejected_bodies(self, numbers: Sequence[int]) -> list[RejectedBody]:
        """What these messages consist of, by number; a purged one is left out."""
        return await self._all(RejectedBody, rejected_sql.BODIES, {"numbers": list(numbers)})

    async def rejected_message(self, number: int) -> RejectedMessage | None:
        """One rejected message, whole."""
        messages = await self._all(RejectedMessage, rejected_sql.SHOW, {"id": number})
        return messages[0] if messages else None

    async def _verdicts(self, orchestration_id: UUID | None, job_id: UUID | None) -> list[Verdict]:
        values = {"orchestration_id": orchestration_id, "job_id": job_id, "ttl": self._ttl, "examples": EXAMPLES}
        counts: dict[str, int] = {}
        jobs: dict[str, list[JobSnapshot]] = {}
        async with self._engine.connect() as connection:
            for row in (await connection.execute(sql.VERDICTS, values)).mappings():
                fields = {name: value for name, value in row.items() if name not in ("alike", "number", "created_at")}
                counts[row["verdict"]] = row["alike"]
                jobs.setdefault(row["verdict"], []).append(JobSnapshot(**fields))
        return [Verdict(word, count, tuple(jobs[word])) for word, count in counts.items()]

    async def _all(self, record: type[Record], statement: TextClause, values: Mapping[str, object]) -> list[Record]:
        """The rows of a statement whose columns are the fields of `record`."""
        async with self._engine.connect() as connection:
            return [record(**row) for row in (await connection.execute(statement, values)).mappings()]


async def _created_at(connection: AsyncConnection, orchestration_id: UUID) -> datetime:
    found: datetime | None = (await connection.execute(listing_sql.CREATED_AT, {"id": orchestration_id})).scalar()
    if found is None:
        raise OrchestrationNotFound(f"no orchestration has the id {orchestration_id}")
    return found


def _of_complete(state: OrchestrationState) -> str:
    if state.event_refused is not None:
        return "EVENT_REFUSED"
    return "COMPLETE" if state.event_published_at else "EVENT_PENDING"
