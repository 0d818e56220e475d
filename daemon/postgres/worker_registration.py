"""This worker's row: its registration, heartbeats, the jobs it has claimed, and its last transaction.

Used by the main thread, on one connection that nobody shares: no pool and no busy event loop can delay a heartbeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Engine

from daemon.errors import WorkerGone
from daemon.job import Holdings, UnfinishedJob
from daemon.postgres.settlements import settle
from daemon.postgres.statements import workers as sql
from daemon.rules.lifecycle import settle_released


class WorkerRegistration:
    """`gap` is how many seconds between two heartbeats break a worker's regularity."""

    def __init__(self, engine: Engine, host: str, revision: str, slots: int, gap: float, pool: str = "") -> None:
        self._engine = engine
        self._host = host
        self._revision = revision
        self._slots = slots
        self._gap = gap
        self._pool = pool

    def register(self, me: UUID) -> None:
        """Register a new worker; nothing may be claimed before this is committed."""
        with self._engine.begin() as connection:
            values = {
                "me": me,
                "host": self._host,
                "revision": self._revision,
                "slots": self._slots,
                "pool": self._pool,
            }
            connection.execute(sql.REGISTER, values)

    def heartbeat(self, me: UUID, running: int, draining: bool) -> None:
        """One heartbeat. Raises WorkerGone when the row was taken away: it is never made again."""
        with self._engine.begin() as connection:
            values = {"me": me, "running": running, "draining": draining, "gap": self._gap}
            if connection.execute(sql.HEARTBEAT, values).first() is None:
                raise WorkerGone(f"worker {me} was declared dead")

    def claimed_jobs(self, me: UUID) -> Holdings:
        """What the database says this worker has claimed, and occupies."""
        with self._engine.begin() as connection:
            rows = connection.execute(sql.CLAIMED_JOBS, {"me": me}).all()
        claimed = frozenset((row.id, row.attempt) for row in rows if row.claimed)
        return Holdings(claimed, frozenset(row.id for row in rows if not row.claimed))

    def vacate(self, me: UUID, jobs: Sequence[UUID]) -> None:
        """Their handlers have really ended: whoever is to run them again may."""
        with self._engine.begin() as connection:
            connection.execute(sql.VACATE, {"workers": [me], "all": False, "ids": list(jobs), "delay": 0.0})

    def release(self, me: UUID, jobs: Sequence[tuple[UUID, int]]) -> frozenset[UUID]:
        """Free jobs that are claimed but not run; each is an interruption. Those that were still claimed."""
        with self._engine.begin() as connection:
            settlements = [settle_released(UnfinishedJob(job_id, me, attempt)) for job_id, attempt in jobs]
            return settle(connection, settlements).jobs

    def deregister(self, me: UUID, delay: float = 0.0) -> int:
        """The last transaction: the worker's row first, then whatever it claims is freed. How many jobs that were.

        With `delay` they begin elsewhere only so many seconds later: threads that still run end with the process.
        """
        with self._engine.begin() as connection:
            connection.execute(sql.DEREGISTER, {"me": me})
            rows = [row for row in connection.execute(sql.CLAIMED_JOBS, {"me": me}) if row.claimed]
            if rows:
                settle(connection, [settle_released(UnfinishedJob(row.id, me, row.attempt), delay) for row in rows])
            connection.execute(sql.VACATE, {"workers": [me], "all": True, "ids": [], "delay": delay})
            return len(rows)

    def close(self) -> None:
        """Give the connection up."""
        self._engine.dispose()
