"""Making, reading, cancelling and reopening orchestrations: what clients and operators ask for.

Called by the client and by the closing of deadlines. Everything here is safe to repeat after a lost answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import OrchestrationNotFound, RequestRefused
from daemon.job import Held, JobError, JobMessage, Kind, Progress, Status
from daemon.orchestration import JobOutcome, OrchestrationState, Outcome, RunningInstance
from daemon.postgres.database import passes
from daemon.postgres.rejections import NEVER_CAME
from daemon.postgres.settlements import settle
from daemon.postgres.statements import orchestrations as sql
from daemon.rules.envelope import instance_id
from daemon.rules.lifecycle import close

CHUNK = 2_000
PAGE = 1_000
BIRTH_GRACE = 10.0
PUBLISHED_A_SECOND = 2_000
ANSWER_TRIES = 3


@dataclass(frozen=True, slots=True)
class NewOrchestration:
    """What to make. `params` are JSON objects as text, one per instance; times are by the database's clock."""

    id: UUID
    job_name: str
    params: Sequence[str]
    tags: Mapping[str, str]
    deadline_seconds: float | None = None
    start_at: datetime | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What was made. `fresh` is False when the idempotency key named an older one; `born` are its (job, date) pairs."""

    id: UUID
    fresh: bool
    born: tuple[tuple[JobMessage, datetime], ...]


async def make(connection: AsyncConnection, new: NewOrchestration, grace: float = BIRTH_GRACE) -> Made:
    """Make an orchestration and its jobs in the connection's transaction; whoever commits it publishes them.

    Raises RequestRefused when the idempotency key belongs to an orchestration of another job or count.
    """
    values = {
        "id": new.id,
        "job_name": new.job_name,
        "tags": json.dumps(dict(new.tags)),
        "total": len(new.params),
        "deadline": new.deadline_seconds,
        "idempotency_key": new.idempotency_key,
        "traceparent": new.traceparent,
    }
    if (await connection.execute(sql.MAKE, values)).first() is None:
        return await _known(connection, new)
    born: list[tuple[JobMessage, datetime]] = []
    for first in range(0, len(new.params), CHUNK):
        born.extend(await _make_jobs(connection, new, first, grace))
    return Made(new.id, True, tuple(born))


async def _known(connection: AsyncConnection, new: NewOrchestration) -> Made:
    row = (await connection.execute(sql.BY_KEY, {"idempotency_key": new.idempotency_key})).one()
    if row.job_name != new.job_name or row.total != len(new.params):
        owner = f"orchestration {row.id}: {row.total} x {row.job_name}"
        raise RequestRefused(f"the idempotency key {new.idempotency_key!r} belongs to {owner}")
    return Made(row.id, False, ())


async def _make_jobs(
    connection: AsyncConnection, new: NewOrchestration, first: int, grace: float
) -> Iterator[tuple[JobMessage, datetime]]:
    indexes = list(range(first, min(first + CHUNK, len(new.params))))
    ids = [instance_id(new.id, index) for index in indexes]
    rows = await connection.execute(
        sql.MAKE_JOBS,
        {
            "orchestration_id": new.id,
            "job_name": new.job_name,
            "start_at": new.start_at,
            "grace": grace,
            "ids": ids,
            "indexes": indexes,
            "params": list(new.params[first : first + CHUNK]),
        },
    )
    dates = {row.id: row.publish_at for row in rows}
    return ((_message(new, job_id, index), dates[job_id]) for job_id, index in zip(ids, indexes, strict=True))


def _message(new: NewOrchestration, job_id: UUID, index: int) -> JobMessage:
    return JobMessage(
        job_name=new.job_name,
        job_id=job_id,
        orchestration_id=new.id,
        index=index,
        count=len(new.params),
        params=None,
        creates=False,
        traceparent=new.traceparent,
    )


class Orchestrations:
    """Reads and ends orchestrations."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def make(self, new: NewOrchestration) -> Made:
        """Make an orchestration in a transaction of its own."""
        async with self._engine.begin() as connection:
            # Whoever makes many needs longer to publish them: until then no relay shall take it for dead.
            return await make(connection, new, BIRTH_GRACE + len(new.params) / PUBLISHED_A_SECOND)

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

    async def cancel(self, orchestration_id: UUID) -> int:
        """End every unfinished instance as Errored (kind Cancelled). How many; 0 when it was complete already."""
        await self.state(orchestration_id)
        async with self._engine.begin() as connection:
            marked = (await connection.execute(sql.MARK_CANCELLED, {"id": orchestration_id})).first()
        if marked is None:
            return 0
        await self.end_unfinished(orchestration_id, JobError(Kind.CANCELLED, "the orchestration was cancelled"))
        async with self._engine.connect() as connection:  # a worker's closer may have ended some of them, or all
            return int((await connection.execute(sql.CANCELLED, {"id": orchestration_id})).scalar_one())

    async def past_deadline(self) -> list[UUID]:
        """Unfinished orchestrations whose deadline has passed, the longest overdue first."""
        async with self._engine.connect() as connection:
            return list((await connection.execute(sql.DEADLINES_PASSED)).scalars())

    async def cancelled_unfinished(self) -> list[UUID]:
        """Cancelled orchestrations that still have unfinished instances."""
        async with self._engine.connect() as connection:
            return list((await connection.execute(sql.CANCELS_UNFINISHED)).scalars())

    async def end_unfinished(self, orchestration_id: UUID, error: JobError) -> int:
        """End every instance that has not finished, born or not. How many.

        Claims must have stopped making jobs of it before (cancelled_at, or a passed deadline). Making the missing
        instances first waits for every claim that is making one, so that the settling sees them all.
        """
        tried: set[int] = set()
        while missing := await self._bear_missing(orchestration_id, tried):
            tried |= missing
        ended = 0
        while True:
            async with self._engine.begin() as connection:
                rows = (await connection.execute(sql.UNFINISHED, {"id": orchestration_id})).all()
                if not rows:
                    return ended
                held = [Held(row.id, row.worker_id, row.attempt) for row in rows]
                written = await settle(connection, [close(one, error) for one in held])
                ended += len(written.jobs)

    async def _bear_missing(self, orchestration_id: UUID, tried: set[int]) -> set[int]:
        """Make instances that have no row; which ones were missing. One that is still missing after a try has its
        id taken by a producer who gave it to another instance, so it gets a new one."""
        async with self._engine.begin() as connection:
            rows = (await connection.execute(sql.MISSING, {"id": orchestration_id})).mappings().all()
            if not rows:
                return set()
            missing = {row["index"]: row["job_name"] for row in rows}
            places = sorted(
                (uuid4() if index in tried else instance_id(orchestration_id, index), index, name)
                for index, name in missing.items()
            )
            await connection.execute(
                sql.BORN_TO_END,
                {
                    "ids": [job_id for job_id, _, _ in places],
                    "orchestration_ids": [orchestration_id] * len(places),
                    "indexes": [index for _, index, _ in places],
                    "names": [name for _, _, name in places],
                    "params": [NEVER_CAME] * len(places),
                },
            )
            return set(missing)

    async def retry_failed(self, orchestration_id: UUID) -> int:
        """Run the Errored instances of a complete orchestration again, as a new generation. How many.

        One that was ended before its message came runs when it comes; one whose message was rejected stays Errored
        until that is replayed.

        Raises OrchestrationNotFound, and RequestRefused while it is unfinished or its event is not published yet. When
        the answer to the commit is lost, it looks whether that took effect.
        """
        seen, reopened, tries = 0, 0, 0
        while True:
            try:
                async with self._engine.begin() as connection:
                    seen, reopened = await self._reopen(connection, orchestration_id, seen, reopened)
            except DBAPIError as error:
                tries += 1
                if not seen or tries == ANSWER_TRIES or not passes(error):
                    raise
                continue
            return reopened

    async def _reopen(
        self, connection: AsyncConnection, orchestration_id: UUID, seen: int, before: int
    ) -> tuple[int, int]:
        """The generation that was reopened, and how many instances of it; `seen` and `before` are those of a try
        whose answer was lost."""
        row = (await connection.execute(sql.REOPEN_LOCK, {"id": orchestration_id})).first()
        if row is None:
            raise OrchestrationNotFound(f"no orchestration has the id {orchestration_id}")
        if seen and row.generation > seen:
            return seen, before
        if not row.complete:
            again = f" (generation {row.generation} runs)" if row.generation > 1 else ""
            raise RequestRefused(f"orchestration {orchestration_id} is not finished{again}; its own retries still run")
        if not row.published:
            raise RequestRefused(f"the event of orchestration {orchestration_id} is not published yet; try again")
        if row.errored == 0:
            return row.generation, 0
        reopened = len((await connection.execute(sql.REOPEN_JOBS, {"id": orchestration_id})).all())
        reopened += len((await connection.execute(sql.UNBEAR, {"id": orchestration_id})).all())
        if reopened:
            await connection.execute(sql.REOPEN, {"id": orchestration_id, "reopened": reopened})
        return row.generation, reopened


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
