"""Ends orchestrations from outside, by cancels and passed deadlines, in slices: nobody waits for a giant.

Called by the client's cancel and by the deadline enforcer of every worker. A slice is one transaction of at most
SLICE indexes, of one orchestration or of many small ones; whatever it repeats has no effect.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.job import JobError, Kind, UnfinishedJob
from daemon.orchestration import TerminatedSlice
from daemon.postgres.settlements import settle
from daemon.postgres.statements import terminations as sql
from daemon.rules.lifecycle import settle_closed
from daemon.rules.messages import instance_id

SLICE = 2_000
ORCHESTRATIONS = 100
SLICE_LOCK = 731_055_493
OTHERS_SECONDS = 0.05
NO_PARAMS = "null"  # the params of an instance that was ended before its message came, or in place of a rejected one
DEADLINE = JobError(Kind.DEADLINE_EXCEEDED, "the orchestration's deadline passed before this instance finished")
CANCELLED = JobError(Kind.CANCELLED, "the orchestration was cancelled")


@dataclass(frozen=True, slots=True)
class _Range:
    id: UUID
    generation: int
    low: int
    high: int
    cancelled: bool


class _Reopened(Exception):
    """An orchestration of the slice completed and was reopened meanwhile; nothing was committed."""


class Terminations:
    """Ends what is cancelled or overdue."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def cancel(self, orchestration_id: UUID) -> int:
        """End every unfinished instance as Errored (kind Cancelled). How many; 0 when it was complete already."""
        async with self._engine.begin() as connection:
            marked = (await connection.execute(sql.MARK_CANCELLED, {"id": orchestration_id})).first()
        if marked is None:
            return 0
        while not await self._is_complete(orchestration_id, marked.generation):
            if not (await self.slice_of(orchestration_id)).worked:
                await asyncio.sleep(OTHERS_SECONDS)  # a worker ends the same slice, or has just ended the last one
        async with self._engine.connect() as connection:
            values = {"id": orchestration_id, "finishes": marked.finishes}
            return int((await connection.execute(sql.CANCELLED, values)).scalar_one())

    async def _is_complete(self, orchestration_id: UUID, generation: int) -> bool:
        """Whether that generation is over; an operator may have made the next one of it already."""
        async with self._engine.connect() as connection:
            values = {"id": orchestration_id, "generation": generation}
            return (await connection.execute(sql.COMPLETE, values)).scalar() is not False

    async def next_slice(self, *, longest_due: bool = False) -> TerminatedSlice:
        """End the next slice of whatever is to be ended: the smallest first, or those that are due for longest."""
        return await self._slice(sql.PICK, {"longest_due": longest_due, "limit": ORCHESTRATIONS, "key": SLICE_LOCK})

    async def slice_of(self, orchestration_id: UUID) -> TerminatedSlice:
        """End the next slice of one orchestration; `worked` is False while another worker does, and at the end."""
        return await self._slice(sql.PICK_ONE, {"id": orchestration_id, "key": SLICE_LOCK})

    async def _slice(self, pick: TextClause, values: dict[str, object]) -> TerminatedSlice:
        try:
            async with self._engine.begin() as connection:
                ranges = _ranges((await connection.execute(pick, values)).all())
                if not ranges:
                    return TerminatedSlice({}, 0, False, False)
                await self._insert_missing(connection, ranges)
                unsettled, result = await self._settle(connection, ranges)
        except _Reopened:
            return TerminatedSlice({}, 0, True, False)
        if passed := [part for part in ranges if part.id not in unsettled]:
            async with self._engine.begin() as connection:
                await connection.execute(sql.ADVANCE, _columns(passed))
        return result

    async def _insert_missing(self, connection: AsyncConnection, ranges: Sequence[_Range]) -> None:
        """Make the instances without a row. An instance that still has none has its id taken by a producer, who gave it
        to another instance, so it gets a new one."""
        for own_id in (True, False):
            rows = (await connection.execute(sql.MISSING, _columns(ranges))).all()
            if not rows:
                return
            new = [
                (instance_id(orchestration_id, index) if own_id else uuid4(), orchestration_id, index, name, NO_PARAMS)
                for orchestration_id, index, name in rows
            ]
            await insert_placeholders(connection, sorted(new))

    async def _settle(self, connection: AsyncConnection, ranges: Sequence[_Range]) -> tuple[set[UUID], TerminatedSlice]:
        """Settle what is unfinished in the ranges; which orchestrations have jobs that somebody claimed meanwhile."""
        rows = (await connection.execute(sql.UNFINISHED, _columns(ranges))).all()
        if not rows:
            return set(), TerminatedSlice({}, 0, True, False)
        by_id = {part.id: part for part in ranges}
        settlements = [
            settle_closed(
                UnfinishedJob(row.id, row.worker_id, row.attempt),
                CANCELLED if by_id[row.orchestration_id].cancelled else DEADLINE,
            )
            for row in rows
        ]
        written = await connection.run_sync(settle, settlements)
        settled = [row.orchestration_id for row in rows if row.id in written.jobs]
        parts = [by_id[owner] for owner in sorted(set(settled))]
        values = {"ids": [part.id for part in parts], "generations": [part.generation for part in parts]}
        if (await connection.execute(sql.STILL_DUE, values)).scalar_one() != len(parts):
            raise _Reopened
        overdue = Counter(owner for owner in settled if not by_id[owner].cancelled)
        unsettled = {row.orchestration_id for row in rows if row.id not in written.jobs}
        return unsettled, TerminatedSlice(dict(overdue), len(settled), True, written.completes)


async def insert_placeholders(
    connection: AsyncConnection, instances: Sequence[tuple[UUID, UUID, int, str, str]]
) -> Sequence[UUID]:
    """Make rows of instances (id, orchestration_id, index, job_name, params), sorted by id; the ids of the new ones."""
    names = ("ids", "orchestration_ids", "indexes", "names", "params")
    values = {name: list(column) for name, column in zip(names, zip(*instances, strict=True), strict=True)}
    return (await connection.execute(sql.INSERT_PLACEHOLDERS, values)).scalars().all()


def _ranges(rows: Sequence[Row[Any]]) -> list[_Range]:
    """As many of the picked orchestrations, and as much of the last one, as fit into a slice."""
    ranges: list[_Range] = []
    left = SLICE
    for row in rows:
        low = row.closed_below if row.closed_below < row.total else 0
        high = min(row.total, low + left)
        if high > low:
            ranges.append(_Range(row.id, row.generation, low, high, row.cancelled))
            left -= high - low
    return sorted(ranges, key=lambda part: part.id)


def _columns(ranges: Sequence[_Range]) -> dict[str, object]:
    return {
        "ids": [part.id for part in ranges],
        "generations": [part.generation for part in ranges],
        "lows": [part.low for part in ranges],
        "highs": [part.high for part in ranges],
    }
