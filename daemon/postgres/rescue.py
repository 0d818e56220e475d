"""Taking jobs back from dead workers: the only place that judges death.

Called by the engine's rescue loop. Starts from the jobs, not from the workers, so that a holder without a row is found
too; a stale worker's row is deleted by a statement that rechecks its heartbeat and the rescuer's own regularity; a new
statement then sees every claim that the dead worker had in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.job import Action, RescuedWorker, UnfinishedJob
from daemon.postgres.settlements import settle
from daemon.postgres.statements import workers as sql
from daemon.rules.lifecycle import settle_workers_lost

NAMED = 20


class Rescue:
    """Frees what the dead hold. `gap` is the longest pause between heartbeats that counts as regular."""

    def __init__(
        self, engine: AsyncEngine, me: Callable[[], UUID], ttl: float, gap: float, max_worker_losses: int
    ) -> None:
        self._engine = engine
        self._me = me
        self._ttl = ttl
        self._gap = gap
        self._max_losses = max_worker_losses

    async def rescue(self) -> list[RescuedWorker]:
        """One round: nothing at all unless this worker has been regular for a full worker_ttl."""
        me = {"me": self._me(), "ttl": self._ttl, "gap": self._gap}
        async with self._engine.connect() as connection:
            lost = (await connection.execute(sql.LOST_CLAIMANTS, {"ttl": self._ttl})).all()
            stale = (await connection.execute(sql.STALE, {"ttl": self._ttl})).scalars().all()
            await connection.commit()
        if not lost and not stale:
            return []
        async with self._engine.begin() as connection:
            if (await connection.execute(sql.REGULAR, me)).first() is None:
                return []
            ids = sorted({*stale, *(row.worker_id for row in lost)})
            deleted = await connection.execute(sql.DELETE_DEAD, me | {"ids": ids})
            dead = {row.worker_id: False for row in lost if row.missing} | {row.id: row.draining for row in deleted}
            return await self._take_back(connection, dead) if dead else []

    async def _take_back(self, connection: AsyncConnection, dead: dict[UUID, bool]) -> list[RescuedWorker]:
        """Free what all of the dead hold. Together, because one settlement locks jobs and orchestrations in order.

        `dead` says of each worker whether it was draining.
        """
        freed, errored = Counter[UUID](), Counter[UUID]()
        jobs: dict[UUID, list[UUID]] = {worker: [] for worker in dead}
        completes = False
        while rows := (await connection.execute(sql.JOBS_OF_WORKERS, {"ids": sorted(dead)})).all():
            claimed = [
                UnfinishedJob(row.id, row.worker_id, row.attempt, row.losses, dead[row.worker_id]) for row in rows
            ]
            settlements = settle_workers_lost(claimed, self._max_losses)
            written = await connection.run_sync(settle, settlements)
            for settlement in settlements:
                worker = settlement.worker_id
                if worker is not None and settlement.job_id in written.jobs:
                    fails = settlement.action is Action.FAIL
                    (errored if fails else freed)[worker] += 1
                    jobs[worker].insert(0 if fails else len(jobs[worker]), settlement.job_id)
                    del jobs[worker][NAMED:]
            completes = completes or written.completes
        await connection.execute(sql.VACATE, {"workers": sorted(dead), "all": True, "ids": [], "delay": 0.0})
        return [
            RescuedWorker(worker, freed[worker], errored[worker], completes, tuple(jobs[worker]))
            for worker in sorted(dead)
        ]
