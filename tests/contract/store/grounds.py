"""Two workers on one database: in memory, and in Postgres. What the contract of the store is asked of.

Used by the tests of this folder. Both are opened in the test's body, because the real store writes in a task group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

import anyio
import psycopg

from daemon.engine.pipeline import Store as StoreProtocol
from daemon.job import Status
from daemon.observe import Observer
from daemon.postgres.database import async_engine, sync_engine
from daemon.postgres.store import Store
from daemon.postgres.worker_registration import WorkerRegistration
from tests.fakes.store import MemoryStore
from tests.fakes.tables import Tables


@dataclass(frozen=True)
class Seen:
    """A job's row. `dated` says whether it will be published again."""

    status: Status
    attempt: int
    worker: UUID | None
    failures: int
    dated: bool


@dataclass(frozen=True)
class Counted:
    """An orchestration's row."""

    total: int
    completed: int
    errored: int
    complete: bool


class Ground(Protocol):
    """Two workers' views of one database, and a look at what is committed."""

    one: StoreProtocol
    other: StoreProtocol
    me: UUID

    def job(self, job_id: UUID) -> Seen | None:
        """A job, if it was born."""
        ...

    def orchestration(self, orchestration_id: UUID) -> Counted | None:
        """An orchestration, if it is registered."""
        ...

    def rejected(self, message_id: str) -> str | None:
        """Why a message was kept, if it was."""
        ...


class InMemory:
    """The fake."""

    def __init__(self) -> None:
        self._tables, self.me = Tables(), uuid4()
        self.one, self.other = MemoryStore(self._tables, self.me), MemoryStore(self._tables, uuid4())

    def job(self, job_id: UUID) -> Seen | None:
        row = self._tables.jobs.get(job_id)
        return row and Seen(row.status, row.attempt, row.worker, row.failures, row.publish_at is not None)

    def orchestration(self, orchestration_id: UUID) -> Counted | None:
        row = self._tables.groups.get(orchestration_id)
        return row and Counted(row.total, row.completed, row.errored, row.ended is not None)

    def rejected(self, message_id: str) -> str | None:
        return self._tables.rejected.get(message_id)


class InPostgres:
    """The real store, looked at through a connection of its own."""

    def __init__(self, url: str, one: Store, other: Store, me: UUID) -> None:
        self._url, self.one, self.other, self.me = url, one, other, me

    def job(self, job_id: UUID) -> Seen | None:
        columns = "status, attempt, worker_id, failures, publish_at IS NOT NULL"
        row = self._row(f"SELECT {columns} FROM job WHERE id = %s", job_id)
        return row and Seen(Status(row[0]), *row[1:])

    def orchestration(self, orchestration_id: UUID) -> Counted | None:
        columns = "total, completed, errored, completed_at IS NOT NULL"
        row = self._row(f"SELECT {columns} FROM orchestration WHERE id = %s", orchestration_id)
        return row and Counted(*row)

    def rejected(self, message_id: str) -> str | None:
        row = self._row("SELECT reason FROM rejected_message WHERE message_id = %s", message_id)
        return row and row[0]

    def _row(self, statement: str, key: object) -> tuple | None:
        with psycopg.connect(self._url) as connection:
            return connection.execute(statement, (key,)).fetchone()


@asynccontextmanager
async def in_memory() -> AsyncIterator[Ground]:
    """The fake, on tables of its own."""
    yield InMemory()


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[Ground]:
    """The real store for two living workers, on an empty database."""
    engine, life = async_engine(url, 4), sync_engine(url, 1)
    names = [uuid4(), uuid4()]
    registration = WorkerRegistration(life, "here", "test", 1, 12.5)
    stores = []
    for name in names:
        registration.register(name)
        stores.append(_store(engine, name))
    try:
        async with anyio.create_task_group() as lanes:
            for store in stores:
                lanes.start_soon(store.run)
            yield InPostgres(url, stores[0], stores[1], names[0])
            lanes.cancel_scope.cancel()
    finally:
        registration.close()
        await engine.dispose()


def _store(engine: object, me: UUID) -> Store:
    return Store(engine, lambda: me, 30.0, Observer(), completed=lambda: None, on_unavailable=lambda _: None)  # type: ignore[arg-type]
