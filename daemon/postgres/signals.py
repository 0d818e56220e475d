"""Sending signals to jobs, and counting those whose sender ended half way.

Called by the client, and by a ticker of every worker. Everything here is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import Status
from daemon.postgres.database import passes
from daemon.postgres.statements import signals as sql

ANSWER_TRIES = 3
UNCOUNTED_SECONDS = 5.0
T = TypeVar("T")


class Signals:
    """Stores signals and dates the jobs that wait for them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def send(self, signal_id: str, job_id: UUID, name: str, payload: str) -> bool:
        """Store a signal (`payload` is JSON text) and wake its job. False when the job has ended.

        A second one with the same id changes nothing, but wakes the job again. The job may be unknown yet.
        """
        await _repeated(lambda: self._store(signal_id, job_id, name, payload))
        return await _repeated(lambda: self._count(signal_id, job_id, name))

    async def count_stored(self) -> None:
        """Count the signals that their senders have stored and not counted."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sql.UNCOUNTED, {"idle": UNCOUNTED_SECONDS})).all()
        for row in rows:
            await self._count(row.id, row.job_id, row.name)

    async def _store(self, signal_id: str, job_id: UUID, name: str, payload: str) -> None:
        async with self._engine.begin() as connection:
            values = {"signal_id": signal_id, "id": job_id, "name": name, "payload": payload}
            await connection.execute(sql.STORE, values)

    async def _count(self, signal_id: str, job_id: UUID, name: str) -> bool:
        async with self._engine.begin() as connection:
            values = {"signal_id": signal_id, "id": job_id, "name": name}
            status = (await connection.execute(sql.COUNT, values)).scalar()
        return status is None or status == Status.IN_PROGRESS


async def _repeated(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a transaction after an error that passes: a deadlock, or an answer that was lost."""
    for tries in range(1, ANSWER_TRIES + 1):
        try:
            return await step()
        except DBAPIError as error:
            if tries == ANSWER_TRIES or not passes(error):
                raise
    raise AssertionError("the last try returns or raises")
