"""Sending signals to jobs, and counting those whose sender ended half way.

Called by the client, and by a ticker of every worker. Everything here is safe to repeat.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import Status
from daemon.postgres.database import repeated
from daemon.postgres.statements import signals as sql

UNCOUNTED_SECONDS = 5.0


class Signals:
    """Stores signals and dates the jobs that wait for them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def send(self, signal_id: str, job_id: UUID, name: str, payload: str) -> bool:
        """Store a signal (`payload` is JSON text) and wake its job. False when the job has ended.

        A second one with the same id changes nothing, but wakes the job again. The job may be unknown yet.
        """
        await repeated(lambda: self._store(signal_id, job_id, name, payload))
        return await repeated(lambda: self._count(signal_id, job_id, name))

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
