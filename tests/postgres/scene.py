"""A database with workers in it, and a rival who holds locks: what the tests of the store are played on.

Used by the tests of this folder. Workers here are rows and the store's own parts, not processes. Raw SQL in it only
looks, or makes a state that time would make (an old heartbeat); everything under test goes through the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.job import (
    Claim,
    ClaimAnswer,
    JobError,
    JobMessage,
    Kind,
    RescuedWorker,
    Result,
    Returned,
    Settled,
    Settlement,
)
from daemon.orchestration import CompletedOrchestration, Created, NewOrchestration
from daemon.postgres.claims import ClaimRequest, Claims
from daemon.postgres.database import sync_engine
from daemon.postgres.orchestrations import Orchestrations
from daemon.postgres.outbox import EventOutbox
from daemon.postgres.progress import ProgressBuffer
from daemon.postgres.rescue import Rescue
from daemon.postgres.retries import Retries
from daemon.postgres.settlements import Settlements
from daemon.postgres.steps import DurableSteps
from daemon.postgres.terminations import Terminations
from daemon.postgres.worker_registration import WorkerRegistration
from daemon.rules.lifecycle import RetryPolicy, settle
from daemon.rules.limits import JobLimit
from daemon.rules.messages import instance_id
from daemon.rules.retry import Backoff
from tests.harness.waiting import until

TTL = 30.0
GAP = 12.5
POLICY = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0, maximum=0, jitter=False))
BOOM = JobError(Kind.RAISED, "boom")


def message_for(orchestration_id: UUID, index: int = 0, count: int | None = 1, **changes: Any) -> JobMessage:
    """The message of one instance, as a producer without a database publishes it."""
    plain = JobMessage(
        job_name="count",
        job_id=instance_id(orchestration_id, index),
        orchestration_id=orchestration_id,
        index=index,
        count=count,
        params='{"n": 1}',
        message_id=uuid4().hex,
    )
    return replace(plain, **changes)


def pointer_to(message: JobMessage) -> JobMessage:
    """The message that a relay publishes: it only names a row."""
    return replace(message, params=None, message_id=uuid4().hex)


def messages_for(orchestration_id: UUID, count: int) -> list[JobMessage]:
    return [message_for(orchestration_id, index, count) for index in range(count)]


@dataclass
class Worker:
    """One worker: a row with a heartbeat, and the parts of the store that act in its name."""

    id: UUID
    engine: AsyncEngine
    limits: Sequence[JobLimit] = ()
    claims: Claims = field(init=False)
    settlements: Settlements = field(init=False)

    def __post_init__(self) -> None:
        self.claims = Claims(self.engine, lambda: self.id, TTL, self.limits)
        self.settlements = Settlements(self.engine, lambda: None)

    async def answers(self, *messages: JobMessage) -> list[ClaimAnswer]:
        return await self.asked([ClaimRequest(message) for message in messages])

    async def asked(self, requests: list[ClaimRequest]) -> list[ClaimAnswer]:
        """The answers to requests that may have been made before."""
        try:
            return await self.claims.write(requests)
        finally:
            await self.claims.pinned.close()  # a scene has many workers, and one pool

    async def answer(self, message: JobMessage) -> ClaimAnswer:
        return (await self.answers(message))[0]

    async def claim(self, message: JobMessage) -> Claim:
        answer = await self.answer(message)
        assert isinstance(answer, Claim), answer
        return answer

    async def settle(self, claim: Claim, result: Result | None = None, policy: RetryPolicy = POLICY) -> Settled:
        return await self.store(decided(claim, result, policy))

    async def store(self, settlement: Settlement) -> Settled:
        return (await self.stored([settlement]))[0]

    async def stored(self, settlements: list[Settlement]) -> list[Settled]:
        try:
            return await self.settlements.write(settlements)
        finally:
            await self.settlements.pinned.close()

    async def rescue(self, max_worker_losses: int = 3, ttl: float = TTL) -> list[RescuedWorker]:
        return await Rescue(self.engine, lambda: self.id, ttl, GAP, max_worker_losses).rescue()


def decided(claim: Claim, result: Result | None = None, policy: RetryPolicy = POLICY) -> Settlement:
    """What the rules say about a result ("ok" if none is given); a retry is due at once."""
    return settle(claim, result or Returned('"ok"'), policy, 300, lambda: 0.5)


def registration_of(scene: Scene) -> WorkerRegistration:
    """The heartbeat thread's side of any worker of a scene."""
    return WorkerRegistration(sync_engine(scene.url), "host", "", 1, GAP)


class Scene:
    """One migrated database."""

    def __init__(self, engine: AsyncEngine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.orchestrations = Orchestrations(engine)
        self.terminations = Terminations(engine)
        self.retries = Retries(engine)

    async def clear(self) -> None:
        """Remove every row."""
        tables = ("job", "orchestration", "worker", "rejected_message", "repair", "limit_key", "paused_job", "handler")
        for table in (*tables, "progress_link", "audit"):
            await self.run(f"DELETE FROM {table}")

    async def worker(self, limits: Sequence[JobLimit] = (), *, regular: bool = True) -> Worker:
        """A worker that lives, `regular` for far longer than a ttl, whose handlers have these limits."""
        me = uuid4()
        since = "now() - interval '1 hour'" if regular else "now()"
        await self.run(f"INSERT INTO worker (id, host, slots, regular_since) VALUES (:me, 'h', 1, {since})", me=me)
        return Worker(me, self.engine, limits)

    async def silence(self, worker: Worker, seconds: float = 3600.0) -> None:
        """Let that much time pass since its last heartbeat."""
        old = "UPDATE worker SET seen_at = now() - make_interval(secs => :seconds) WHERE id = :id"
        await self.run(old, id=worker.id, seconds=seconds)

    async def kick_off(self, count: int = 1, **changes: Any) -> Created:
        new = NewOrchestration(uuid4(), "count", ['{"n": 1}'] * count, {})
        return await self.orchestrations.create(replace(new, **changes))

    async def end(self, orchestration_id: UUID) -> int:
        """End what is cancelled or overdue of an orchestration, as a worker does; how many instances."""
        ended = 0
        while (part := await self.terminations.slice_of(orchestration_id)).worked:
            ended += part.ended
        return ended

    async def publish_events(self) -> list[CompletedOrchestration]:
        """A relay publishes what is due."""
        due = EventOutbox(self.engine)
        leased = await due.lease(100)
        await due.mark_published(leased)
        return [one.message for one in leased]

    async def run(self, statement: str, **values: Any) -> list[RowMapping]:
        """Run raw SQL in a transaction of its own; its rows."""
        async with self.engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            return list(result.mappings()) if result.returns_rows else []

    async def value(self, expression: str, **values: Any) -> Any:
        """What one expression or select gives."""
        async with self.engine.begin() as connection:
            return (await connection.execute(text(f"SELECT {expression}"), values)).scalar()

    async def job(self, job_id: UUID) -> RowMapping:
        columns = "*, publish_at <= now() AS due, CAST(extract(epoch FROM publish_at - now()) AS float8) AS due_in"
        return (await self.run(f"SELECT {columns} FROM job WHERE id = :id", id=job_id))[0]

    async def orchestration(self, orchestration_id: UUID) -> RowMapping:
        return (await self.run("SELECT * FROM orchestration WHERE id = :id", id=orchestration_id))[0]

    async def history(self, job_id: UUID) -> list[tuple[int, str]]:
        """(attempt, kind) of every attempt that did not complete."""
        rows = await self.run("SELECT attempt, kind FROM failed_attempt WHERE job_id = :id ORDER BY 1", id=job_id)
        return [(row["attempt"], row["kind"]) for row in rows]

    async def until_blocked(self, count: int = 1) -> None:
        """Wait until that many statements of this database wait for a lock."""
        waiting = "count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

        async def blocked() -> bool:
            return bool(await self.value(waiting) >= count)

        await until(blocked, what=f"{count} statements wait for a lock")

    @asynccontextmanager
    async def rival(self) -> AsyncIterator[Rival]:
        """A second session in an open transaction, which ends by `commit`, or is rolled back."""
        async with self.engine.connect() as connection:
            yield Rival(connection)
            await connection.rollback()


@asynccontextmanager
async def writing(buffer: ProgressBuffer | DurableSteps) -> AsyncIterator[ProgressBuffer | DurableSteps]:
    """The lanes of what handlers say, running."""
    lanes = asyncio.create_task(buffer.run())
    yield buffer
    lanes.cancel()
    await asyncio.wait([lanes])


class Rival:
    """Holds locks until it commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def run(self, statement: str, **values: Any) -> list[RowMapping]:
        result = await self.connection.execute(text(statement), values)
        return list(result.mappings()) if result.returns_rows else []

    async def commit(self) -> None:
        await self.connection.commit()
