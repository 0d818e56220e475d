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
from daemon.recorder import RecordedStep, StepKind, WaitAnswer

Write = tuple[Claim, RecordedStep]
Wait = tuple[Claim, RecordedStep, str]


class DurableSteps:
    """The StepStore of a worker. Made on the event loop."""

    def __init__(
        self, engine: AsyncEngine, observer: Observer, on_unavailable: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._engine, self._transactions = engine.execution_options(isolation_level="AUTOCOMMIT"), engine
        self._writes: GroupCommit[Write, bool] = GroupCommit(
            "step",
            self._write,
            observer,
            size_of=lambda write: len(write[1].result or ""),
            on_unavailable=on_unavailable,
        )
        self._reads: GroupCommit[Claim, list[RecordedStep]] = GroupCommit(
            "replay", self._read, observer, on_unavailable=on_unavailable
        )
        self._deletions: GroupCommit[Claim, bool] = GroupCommit(
            "restart", self._delete, observer, on_unavailable=on_unavailable
        )

        self._waits: GroupCommit[Wait, WaitAnswer | None] = GroupCommit(
            "wait", self._wait, observer, on_unavailable=on_unavailable
        )
        self._lanes = (self._writes, self._reads, self._deletions, self._waits)

    async def recorded(self, claim: Claim) -> list[RecordedStep]:
        """See StepStore."""
        return await self._reads.submit(claim)

    async def record(self, claim: Claim, step: RecordedStep) -> bool:
        """See StepStore."""
        return await self._writes.submit((claim, step))

    async def forget(self, claim: Claim) -> bool:
        """See StepStore."""
        return await self._deletions.submit(claim)

    async def wait_for(self, claim: Claim, step: RecordedStep, signal: str) -> WaitAnswer | None:
        """See StepStore."""
        return await self._waits.submit((claim, step, signal))

    async def run(self) -> None:
        """Write until cancelled."""
        async with anyio.create_task_group() as tasks:
            for operation in self._lanes:
                tasks.start_soon(operation.run)

    @property
    def unavailable(self) -> bool:
        """Whether anything here waits for the database to answer again."""
        return any(lane.unavailable for lane in self._lanes)

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
                found[row.job_id].append(RecordedStep(row.name, row.number, row.result, StepKind(row.kind), row.due_in))
        return [found[claim.job_id] for claim in claims]

    async def _delete(self, claims: list[Claim]) -> list[bool]:
        answers = []
        for claim in claims:
            async with self._transactions.begin() as connection:
                answers.append((await connection.execute(sql.LOCK_CLAIMED, fence(claim))).first() is not None)
                if answers[-1]:
                    await connection.execute(sql.DELETE_STEPS, {"id": claim.job_id})
        return answers

    async def _wait(self, waits: list[Wait]) -> list[WaitAnswer | None]:
        answers: list[WaitAnswer | None] = []
        for claim, step, signal in waits:
            named = {"name": step.name, "number": step.number, "signal": signal, "delay": step.due_in}
            async with self._transactions.begin() as connection:
                locked = (await connection.execute(sql.LOCK_CLAIMED, fence(claim))).first()
                if locked is None:
                    answers.append(None)
                    continue
                values = {"id": claim.job_id, "attempt": claim.attempt, **named}
                row = (await connection.execute(sql.TAKE_SIGNAL, values)).one()
            taken = RecordedStep(step.name, row.number, row.result, StepKind(row.kind), row.due_in)
            answers.append(WaitAnswer(taken, locked.signals))
        return answers


def fence(claim: Claim) -> dict[str, object]:
    """The parameters of LOCK_CLAIMED."""
    return {"id": claim.job_id, "attempt": claim.attempt, "me": claim.worker_id}


def values(writes: Sequence[Write]) -> dict[str, object]:
    """The parameters of RECORD_STEPS."""
    return {
        "ids": [claim.job_id for claim, _ in writes],
        "workers": [claim.worker_id for claim, _ in writes],
        "attempts": [claim.attempt for claim, _ in writes],
        "names": [step.name for _, step in writes],
        "numbers": [step.number for _, step in writes],
        "results": [step.result for _, step in writes],
        "kinds": [step.kind.value for _, step in writes],
        "delays": [step.due_in for _, step in writes],
    }
