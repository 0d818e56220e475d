"""What operators read: why something is not finished, workers, rejected messages.

Called by the command line. It reads only; what operators change is in `maintenance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.errors import OrchestrationNotFound
from daemon.job import Status
from daemon.orchestration import OrchestrationFilter, OrchestrationState, OrchestrationSummary
from daemon.postgres.listing import list_orchestrations
from daemon.postgres.orchestrations import Orchestrations
from daemon.postgres.statements import explain as sql
from daemon.postgres.statements import rejected as rejected_sql
from daemon.postgres.statements import workers as worker_sql
from daemon.postgres.sweep import Violation, verify

EXAMPLES = 5
LAST_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """One way in which `count` jobs are not finished, with a few of them as rows under their column names."""

    word: str
    count: int
    examples: tuple[RowMapping, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an orchestration is not finished, or that it is."""

    state: OrchestrationState
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """One job: its row, its verdict while it is unfinished, its failed attempts and its repeated deliveries."""

    job: RowMapping
    verdict: Verdict | None
    history: tuple[RowMapping, ...]
    redeliveries: tuple[RowMapping, ...]


@dataclass(frozen=True, slots=True)
class ReplayCandidate:
    """A rejected message that may be published again, by its number, with the size of its body."""

    id: int
    reason: str
    bytes: int


class Reads:
    """Answers operators' questions from the rows."""

    def __init__(self, engine: AsyncEngine, worker_ttl: float) -> None:
        self._engine = engine
        self._ttl = worker_ttl

    async def explain(self, orchestration_id: UUID) -> Explanation:
        """Every reason why an orchestration is not finished. Raises OrchestrationNotFound."""
        state = await Orchestrations(self._engine).state(orchestration_id)
        verdicts = await self._verdicts(orchestration_id, None)
        async with self._engine.connect() as connection:
            born = (await connection.execute(sql.BORN, {"id": orchestration_id})).scalar_one()
            values = {"id": orchestration_id, "examples": EXAMPLES}
            rejected = (await connection.execute(sql.REJECTED, values)).mappings().all()
        if born < state.total and state.completed_at is None:
            verdicts.append(Verdict("NOT_YET_ARRIVED", state.total - born, ()))
        if rejected:
            verdicts.append(Verdict("MESSAGES_REJECTED", rejected[0]["alike"], tuple(rejected)))
        if state.cancelled_at is not None and state.completed_at is None:
            verdicts.append(Verdict("CANCELLED", state.total - state.finished, ()))
        if state.completed_at is not None:
            verdicts.append(Verdict(_of_complete(state), state.total, ()))
        return Explanation(state, tuple(verdicts))

    async def orchestrations(
        self, wanted: OrchestrationFilter, after: UUID | None, limit: int
    ) -> list[OrchestrationSummary]:
        """A page of orchestrations, newest first. Raises OrchestrationNotFound when `after` is not there."""
        return await list_orchestrations(self._engine, wanted, after=after, limit=limit)

    async def explain_job(self, job_id: UUID) -> JobExplanation:
        """Where one job stands and what happened to it. Raises OrchestrationNotFound when no job has the id."""
        async with self._engine.connect() as connection:
            job = (await connection.execute(sql.JOB, {"id": job_id})).mappings().first()
            history = (await connection.execute(sql.HISTORY, {"id": job_id})).mappings().all()
            redeliveries = (await connection.execute(sql.REDELIVERIES, {"id": job_id})).mappings().all()
        if job is None:
            raise OrchestrationNotFound(f"no orchestration and no job has the id {job_id}")
        unfinished = job["status"] == Status.IN_PROGRESS
        verdicts = await self._verdicts(None, job_id) if unfinished else []
        return JobExplanation(job, verdicts[0] if verdicts else None, tuple(history), tuple(redeliveries))

    async def workers(self) -> list[RowMapping]:
        """Every registered worker: host, slots, running, heartbeat_age (seconds), what it holds."""
        async with self._engine.connect() as connection:
            return list((await connection.execute(worker_sql.LIST)).mappings())

    async def verify(self) -> list[Violation]:
        """Every broken invariant; writes nothing."""
        return await verify(self._engine, self._ttl)

    async def rejected(
        self, after: int | None, reason: str | None, limit: int, *, newest: bool = False
    ) -> list[RowMapping]:
        """Rejected messages by number, rising or (newest) falling, from after number `after` on, without bodies."""
        statement, beginning = (rejected_sql.LIST_NEWEST, LAST_NUMBER) if newest else (rejected_sql.LIST, 0)
        values = {"after": beginning if after is None else after, "reason": reason, "limit": limit}
        async with self._engine.connect() as connection:
            return list((await connection.execute(statement, values)).mappings())

    async def replay_candidates(self, number: int | None, reason: str | None) -> list[ReplayCandidate]:
        """The message of that number; without one all that were not replayed yet (of a reason, if one is given)."""
        async with self._engine.connect() as connection:
            if number is not None:
                rows = await connection.execute(rejected_sql.CANDIDATE, {"id": number})
            else:
                rows = await connection.execute(rejected_sql.CANDIDATES, {"reason": reason})
            return [ReplayCandidate(row.id, row.reason, row.bytes) for row in rows]

    async def rejected_bodies(self, numbers: Sequence[int]) -> list[RowMapping]:
        """The id, data and attributes of these messages, by number; a purged one is left out."""
        async with self._engine.connect() as connection:
            return list((await connection.execute(rejected_sql.BODIES, {"numbers": list(numbers)})).mappings())

    async def rejected_message(self, number: int) -> RowMapping | None:
        """One rejected message, whole."""
        async with self._engine.connect() as connection:
            return (await connection.execute(rejected_sql.SHOW, {"id": number})).mappings().first()

    async def _verdicts(self, orchestration_id: UUID | None, job_id: UUID | None) -> list[Verdict]:
        values = {"orchestration_id": orchestration_id, "job_id": job_id, "ttl": self._ttl, "examples": EXAMPLES}
        found: dict[str, list[RowMapping]] = {}
        async with self._engine.connect() as connection:
            for row in (await connection.execute(sql.VERDICTS, values)).mappings():
                found.setdefault(row["verdict"], []).append(row)
        return [Verdict(word, rows[0]["alike"], tuple(rows)) for word, rows in found.items()]


def _of_complete(state: OrchestrationState) -> str:
    if state.event_refused is not None:
        return "EVENT_REFUSED"
    return "COMPLETE" if state.event_published_at else "EVENT_PENDING"
