"""Ending one job by hand: an operator cancels it, or says what its result is.

Called by the command line. It ends by the statement that ends every job, fenced on the attempt that was read: it counts
once whatever a worker does at the same time.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.errors import OrchestrationNotFound, RequestRefused
from daemon.job import Action, JobError, Kind, Settlement, Status, UnfinishedJob
from daemon.postgres.settlements import settle
from daemon.postgres.statements import terminations as sql
from daemon.rules.lifecycle import settle_closed

CANCELLED = JobError(Kind.CANCELLED, "the job was cancelled")
TRIES = 20


class JobOperations:
    """What operators do to single jobs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def cancel(self, job_id: UUID) -> bool:
        """End it as Errored (kind Cancelled), its running handler too; False when it had finished.

        Raises OrchestrationNotFound when no job has the id.
        """
        return await self._end(job_id, None)

    async def complete(self, job_id: UUID, result: str) -> bool:
        """End it as Completed with a result (JSON text) as if its handler had returned it; False when it had finished.

        Raises RequestRefused while a worker runs it, OrchestrationNotFound when no job has the id.
        """
        return await self._end(job_id, result)

    async def _end(self, job_id: UUID, result: str | None) -> bool:
        for _ in range(TRIES):
            async with self._engine.begin() as connection:
                row = (await connection.execute(sql.JOB_TO_END, {"id": job_id})).first()
                if row is None:
                    raise OrchestrationNotFound(f"no orchestration and no job has the id {job_id}")
                if row.status != Status.IN_PROGRESS:
                    return False
                if result is None:
                    settlement = settle_closed(UnfinishedJob(job_id, row.worker_id, row.attempt), CANCELLED)
                elif row.worker_id is not None or row.occupied_by is not None:
                    where = row.worker_id or row.occupied_by
                    raise RequestRefused(f"job {job_id} is running on worker {where}: cancel it, or wait until it ends")
                else:
                    settlement = Settlement(job_id, None, row.attempt, Action.COMPLETE, result)
                if (await connection.run_sync(settle, [settlement])).jobs:
                    return True
        raise RequestRefused(f"job {job_id} changes too often to be ended by hand: try again")
