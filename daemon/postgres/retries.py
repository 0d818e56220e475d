"""An operator's retry: reopens a complete orchestration as a new generation, in slices.

Called by the client, and by a ticker of every worker for retries whose author ended half way. Everything here is
safe to repeat after a lost answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.errors import OrchestrationNotFound, RequestRefused
from daemon.postgres.database import repeated
from daemon.postgres.statements import retries as sql

SLICE = 5_000
ABANDONED_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Reopening:
    """A retry that has begun: the new generation, the failed instances of the old one, and its last finish_number."""

    id: UUID
    generation: int
    finishes: int
    errored: int = 0


class Retries:
    """Reopens orchestrations."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def retry_failed(self, orchestration_id: UUID) -> int:
        """Run the Errored instances of a complete orchestration again, as a new generation. How many.

        One that was ended before its message came runs when it comes; one whose message was rejected stays Errored
        until that is replayed. Raises OrchestrationNotFound, and RequestRefused while it is unfinished, its event is
        not published yet, or it is being pruned. After a lost answer it looks whether that took effect.
        """
        begun: list[int] = []
        reopening = await repeated(lambda: self._begin(orchestration_id, begun))
        if reopening is None:
            return 0
        await self._reopen(reopening)
        async with self._engine.connect() as connection:
            values = {"id": orchestration_id, "finishes": reopening.finishes}
            return reopening.errored - int((await connection.execute(sql.LEFT_FAILED, values)).scalar_one())

    async def continue_abandoned(self) -> None:
        """Go on with retries that nobody has worked on for a while."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sql.ABANDONED, {"idle": ABANDONED_SECONDS})).all()
        for row in rows:
            await self._reopen(Reopening(row.id, row.generation, row.finishes))

    async def _begin(self, orchestration_id: UUID, begun: list[int]) -> Reopening | None:
        """Make the new generation; None when nothing can be run again. `begun` holds the generation that an earlier
        try, whose answer was lost, wanted to make."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(sql.LOCK, {"id": orchestration_id})).first()
            if row is None:
                raise OrchestrationNotFound(f"no orchestration has the id {orchestration_id}")
            if row.generation in begun:
                finishes = row.reopening_finishes if row.reopening else row.finishes
                return Reopening(orchestration_id, row.generation, finishes, row.errored)
            _refuse(orchestration_id, row.complete, row.published, row.pruning, row.generation)
            if not (await connection.execute(sql.ANY_TO_REOPEN, {"id": orchestration_id})).scalar_one():
                return None
            begun.append(row.generation + 1)
            await connection.execute(sql.BEGIN, {"id": orchestration_id})
            return Reopening(orchestration_id, row.generation + 1, row.finishes, row.errored)

    async def _reopen(self, reopening: Reopening) -> None:
        """Reopen slice by slice, then let the orchestration complete."""
        after: int | None = 0
        while after is not None:
            seen = after
            after = await repeated(lambda: self._slice(reopening, seen))  # noqa: B023 - awaited at once
        await repeated(lambda: self._end(reopening))

    async def _slice(self, reopening: Reopening, after: int) -> int | None:
        """One slice; the finish_number up to which it came, None when there is nothing more to do."""
        values = {"id": reopening.id, "after": after, "finishes": reopening.finishes, "limit": SLICE}
        async with self._engine.begin() as connection:
            rows = (await connection.execute(sql.LOCK_SLICE, values)).all()
            owner = {"id": reopening.id, "generation": reopening.generation}
            if not rows or (await connection.execute(sql.LOCK_ORCHESTRATION, owner)).first() is None:
                return None
            again = (sql.REOPEN_JOBS, False), (sql.REOPEN_WAITS, False)
            for statement, placeholder in (*again, (sql.DELETE_PLACEHOLDERS, True)):
                if ids := [row.id for row in rows if row.placeholder is placeholder]:
                    await connection.execute(statement, {"ids": ids})
            await connection.execute(sql.REOPENED, {"id": reopening.id, "reopened": len(rows)})
            return max(int(row.finish_number) for row in rows)

    async def _end(self, reopening: Reopening) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sql.END, {"id": reopening.id, "generation": reopening.generation})


def _refuse(orchestration_id: UUID, complete: bool, published: bool, pruning: bool, generation: int) -> None:
    if pruning:
        raise RequestRefused(f"orchestration {orchestration_id} is being pruned: its instances are no longer complete")
    if not complete:
        again = f" (generation {generation} runs)" if generation > 1 else ""
        raise RequestRefused(f"orchestration {orchestration_id} is not finished{again}; its own retries still run")
    if not published:
        raise RequestRefused(f"the event of orchestration {orchestration_id} is not published yet; try again")
