"""The durable steps of running handlers: recorded in groups under the fence, and read by later attempts.

Built by the store, used by the context of every handler. A step is committed before its record is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import anyio
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import Claim
from daemon.observe import Observer
from daemon.postgres.group_commit import GroupCommit
from daemon.postgres.statements import steps as sql
from daemon.recorder import RecordedStep

Write = tuple[Claim, RecordedStep]


class DurableSteps:
    """The StepStore of a worker. Made on the event loop."""

    def __init__(
        self, engine: AsyncEngine, observer: Observer, on_unavailable: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writes: GroupCommit[Write, bool] = GroupCommit(
            "step", self._write, observer, size_of=lambda write: len(write[1].result), on_unavailable=on_unavailable
        )
        self._reads: GroupCommit[Claim, list[RecordedStep]] = GroupCommit(
            "replay", self._read, observer, on_unavailable=on_unavailable
        )
        self._deletions: GroupCommit[Claim, bool] = GroupCommit(
            "restart", self._delete, observer, on_unavailable=on_unavailable
        )

    async def recorded(self, claim: Claim) -> list[RecordedStep]:
        """See StepStore."""
        return await self._reads.submit(claim)

    async def record(self, claim: Claim, step: RecordedStep) -> bool:
        """See StepStore."""
        return await self._writes.submit((claim, step))

    async def forget(self, claim: Claim) -> bool:
        """See StepStore."""
        return await self._deletions.submit(claim)

    async def run(self) -> None:
        """Write until cancelled."""
        async with anyio.create_task_group() as tasks:
            for operation in (self._writes, self._reads, self._deletions):
                tasks.start_soon(operation.run)

    @property
    def unavailable(self) -> bool:
        """Whether anything here waits for the database to answer again."""
        return self._writes.unavailable or self._reads.unavailable or self._deletions.unavailable

    async def _write(self, writes: list[Write]) -> list[bool]:
        async with self._engine.connect() as connection:
            stored = {
                (row.job_id, row.name, row.attempt)
                for row in await connection.execute(sql.RECORD_STEPS, values(writes))
            }
        return [(claim.job_id, step.name, claim.attempt) in stored for claim, step in writes]

    async def _read(self, claims: list[Claim]) -> list[list[RecordedStep]]:
        found: dict[UUID, list[RecordedStep]] = {claim.job_id: [] for claim in claims}
        async with self._engine.connect() as connection:
            for row in await connection.execute(sql.RECORDED_STEPS, {"ids": list(found)}):
                found[row.job_id].append(RecordedStep(row.name, row.number, row.result, row.in_transaction))
        return [found[claim.job_id] for claim in claims]

    async def _delete(self, claims: list[Claim]) -> list[bool]:
        answers = []
        for claim in claims:
            async with self._engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
                locked = {"id": claim.job_id, "attempt": claim.attempt, "me": claim.worker_id}
                answers.append((await connection.execute(sql.LOCK_CLAIMED, locked)).first() is not None)
                if answers[-1]:
                    await connection.execute(sql.DELETE_STEPS, {"id": claim.job_id})
        return answers


def values(writes: Sequence[Write]) -> dict[str, object]:
    """The parameters of RECORD_STEPS."""
    return {
        "ids": [claim.job_id for claim, _ in writes],
        "workers": [claim.worker_id for claim, _ in writes],
        "attempts": [claim.attempt for claim, _ in writes],
        "names": [step.name for _, step in writes],
        "numbers": [step.number for _, step in writes],
        "results": [step.result for _, step in writes],
        "kinds": ["tx" if step.in_transaction else "step" for _, step in writes],
    }
