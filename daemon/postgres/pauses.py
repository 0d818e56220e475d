"""Job names that an operator has paused: no worker begins a job of them, and those that run go on.

Called by the client and by the command line.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.errors import RequestRefused
from daemon.inspection import PausedJob
from daemon.postgres.statements import pauses as sql

WOKEN_AT_ONCE = 2_000


class Pauses:
    """Pauses and resumes jobs by their name."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def paused(self) -> list[PausedJob]:
        """What is paused, by name."""
        async with self._engine.connect() as connection:
            return [PausedJob(**row) for row in (await connection.execute(sql.PAUSED)).mappings()]

    async def pause(self, job_name: str, *, force: bool = False) -> None:
        """From now on no claim takes a job of this name. Raises RequestRefused for a name of which no worker has ever
        had a handler, except by `force`."""
        async with self._engine.begin() as connection:
            known: Sequence[str] = (await connection.execute(sql.HANDLERS)).scalars().all()
            if job_name not in known and not force:
                names = ", ".join(known) or "none"
                raise RequestRefused(f"no worker has had a handler named {job_name!r}; handlers: {names}")
            await connection.execute(sql.PAUSE, {"job_name": job_name})

    async def resume(self, job_name: str) -> int:
        """Let its jobs begin again; how many had been held back. Safe to repeat. Raises RequestRefused when the name
        is not paused and nothing waits for it."""
        async with self._engine.begin() as connection:
            await connection.execute(sql.LOCK, {"job_name": job_name})
            was_paused = (await connection.execute(sql.RESUME, {"job_name": job_name})).first() is not None
        woken = 0
        while count := await self._wake(job_name):
            woken += count
        if not (was_paused or woken):
            names = ", ".join(one.job_name for one in await self.paused()) or "none"
            raise RequestRefused(f"{job_name!r} is not paused; paused jobs: {names}")
        return woken

    async def _wake(self, job_name: str) -> int:
        values = {"job_name": job_name, "limit": WOKEN_AT_ONCE}
        async with self._engine.begin() as connection:
            return len((await connection.execute(sql.WAKE, values)).all())
