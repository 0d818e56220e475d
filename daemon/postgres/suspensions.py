"""Suspends jobs that sleep or wait for a signal, in batches.

Called by the store's group commit. A suspension that finds no row is our own earlier try, whose answer was lost
(stored), or stale.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import Settled, Settlement
from daemon.postgres.statements import suspensions as sql
from daemon.suspension import Suspension

NONE = Suspension(0.0)


class Suspensions:
    """Writes settlements that suspend their job. `released` is called when permits have become free."""

    def __init__(self, engine: AsyncEngine, released: Callable[[], None] = lambda: None) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._released = released

    async def write(self, settlements: list[Settlement]) -> list[Settled]:
        """For each settlement: stored or stale."""
        rows = sorted(settlements, key=lambda settlement: settlement.job_id.int)
        suspended = [row.suspension or NONE for row in rows]
        fence = {
            "ids": [row.job_id for row in rows],
            "workers": [row.worker_id for row in rows],
            "attempts": [row.attempt for row in rows],
        }
        parks = {
            "delays": [row.delay for row in rows],
            "names": [one.signal for one in suspended],
            "counts": [one.signals_seen for one in suspended],
        }
        async with self._engine.connect() as connection:
            changed = (await connection.execute(sql.SUSPEND, fence | parks)).all()
            stored = {row.id for row in changed}
            if lost := [row for row in rows if row.job_id not in stored]:
                ours = {"ids": [row.job_id for row in lost], "attempts": [row.attempt for row in lost]}
                stored |= set((await connection.execute(sql.SUSPENDED_BY_US, ours)).scalars())
        if any(row.releases for row in changed):
            self._released()
        return [Settled.STORED if row.job_id in stored else Settled.STALE for row in settlements]
