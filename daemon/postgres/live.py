"""Reads what has changed in the orchestrations that somebody follows, for all of them at once.

Called by the reader of the API's streams. Reading only.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import Kind, Progress, Status
from daemon.live import Changes, LiveState, Position, Transition
from daemon.orchestration import Outcome, RunningInstance
from daemon.postgres.statements import streams as sql

SMALL = 1_000
WINDOW = 10_000
SHOWN = 10


class LiveQueries:
    """One statement for everything that is followed."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def changes(self, positions: Sequence[Position]) -> Changes:
        """What lies after these positions. An orchestration without a row is left out."""
        values = {
            "ids": [position.id for position in positions],
            "generations": [position.generation for position in positions],
            "afters": [position.finish_number for position in positions],
            "small": SMALL,
            "window": WINDOW,
            "shown": SHOWN,
        }
        async with self._engine.connect() as connection:
            epoch = (await connection.execute(sql.EPOCH)).scalar_one()
            rows = (await connection.execute(sql.CHANGES, values)).mappings().all()
        return Changes(epoch, tuple(_state(row) for row in rows))


def _state(row: RowMapping) -> LiveState:
    fields = dict(row)
    outcome, instances, transitions = fields.pop("outcome"), fields.pop("instances"), fields.pop("transitions")
    return LiveState(
        **fields,
        outcome=None if outcome is None else Outcome(outcome),
        whole=row["total"] <= SMALL,
        instances=tuple(RunningInstance(UUID(one[0]), one[1], Progress(*one[2:])) for one in instances or ()),
        transitions=tuple(
            Transition(one[0], one[1], UUID(one[2]), Status(one[3]), None if one[4] is None else Kind(one[4]))
            for one in transitions or ()
        ),
    )
