"""The life signs of this worker: birth, heartbeat, what it holds, and its last transaction.

Used by the engine's lifeline, in the main thread, on one connection that nobody shares: no pool and no busy event loop
can hold a heartbeat up.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Engine

from daemon.errors import WorkerGone
from daemon.job import Held, Settlement
from daemon.postgres.settlements import settle_in_thread
from daemon.postgres.statements import workers as sql
from daemon.rules.lifecycle import give_back


class Pulse:
    """The life signs. `gap` is how many seconds between two heartbeats break a worker's regularity."""

    def __init__(self, engine: Engine, host: str, revision: str, slots: int, gap: float) -> None:
        self._engine = engine
        self._host = host
        self._revision = revision
        self._slots = slots
        self._gap = gap

    def birth(self, me: UUID) -> None:
        """Register a new worker; nothing may be claimed before this is committed."""
        with self._engine.begin() as connection:
            connection.execute(
                sql.BIRTH, {"me": me, "host": self._host, "revision": self._revision, "slots": self._slots}
            )

    def beat(self, me: UUID, running: int, draining: bool) -> None:
        """One heartbeat. Raises WorkerGone when the row was taken away: it is never made again."""
        with self._engine.begin() as connection:
            values = {"me": me, "running": running, "draining": draining, "gap": self._gap}
            if connection.execute(sql.BEAT, values).first() is None:
                raise WorkerGone(f"worker {me} was declared dead")

    def held(self, me: UUID) -> frozenset[tuple[UUID, int]]:
        """The (job, attempt) pairs that the database says this worker holds."""
        with self._engine.begin() as connection:
            return frozenset((row.id, row.attempt) for row in connection.execute(sql.HELD, {"me": me}))

    def give_back(self, me: UUID, jobs: Sequence[tuple[UUID, int]]) -> frozenset[UUID]:
        """Free jobs that are held but not run; each is an interruption. Those that were still held."""
        with self._engine.begin() as connection:
            settlements = [give_back(Held(job_id, me, attempt)) for job_id, attempt in jobs]
            return settle_in_thread(connection, settlements).jobs

    def farewell(self, me: UUID) -> int:
        """The last transaction: the worker's row first, then whatever it holds is freed. How many jobs that were."""
        with self._engine.begin() as connection:
            connection.execute(sql.FAREWELL, {"me": me})
            rows = connection.execute(sql.HELD, {"me": me}).all()
            if rows:
                settle_in_thread(connection, [give_back(Held(row.id, me, row.attempt)) for row in rows])
            return len(rows)

    def interrupt(self, settlements: Sequence[Settlement]) -> None:
        """Store the interruptions of a drain in one batch."""
        with self._engine.begin() as connection:
            settle_in_thread(connection, settlements)

    def close(self) -> None:
        """Give the connection up."""
        self._engine.dispose()
