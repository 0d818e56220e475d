"""One settlement statement for a batch: outcomes, counters, completion and history in one transaction.

Called by the store's settlements and by everything that ends jobs from outside. A settlement that finds no row is
either our own earlier try, whose answer was lost (stored), or stale.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.job import JobError, Settled, Settlement
from daemon.postgres.arrays import Floats, Ints, Texts, Uuids
from daemon.postgres.pipeline import PinnedConnection, run_transaction
from daemon.postgres.statements import settlements as sql
from daemon.rules.storable import storable_text


@dataclass(frozen=True, slots=True)
class Written:
    """What one SETTLE did: the jobs it changed, whether an orchestration completed, whether permits became free."""

    jobs: frozenset[UUID]
    completes: bool
    releases: bool


class Settlements:
    """Writes batches of settlements. `completed` is called when an orchestration has completed, `released` when permits
    have become free."""

    def __init__(
        self, engine: AsyncEngine, completed: Callable[[], None], released: Callable[[], None] = lambda: None
    ) -> None:
        self.pinned = PinnedConnection(engine)
        self._completed = completed
        self._released = released

    async def write(self, settlements: list[Settlement]) -> list[Settled]:
        """For each settlement: stored or stale.

        A worker that lost a job and claimed it again can settle both attempts at once: one statement takes one of them.
        """
        stored: set[int] = set()  # by identity: hashing all the fields of a settlement costs more than the rest
        async with self.pinned.connection() as connection:
            for distinct in _rounds(settlements):
                (rows,) = await run_transaction(connection, [(sql.SETTLE, parameters(distinct))])
                written, ours = _written(rows), frozenset[UUID]()
                if len(written.jobs) == len(distinct):
                    stored.update(map(id, distinct))
                else:
                    lost = [settlement for settlement in distinct if settlement.job_id not in written.jobs]
                    ours = await _settled_by_us(connection, lost)
                    jobs = written.jobs | ours
                    stored.update(id(settlement) for settlement in distinct if settlement.job_id in jobs)
                # An earlier try of ours may have completed an orchestration: report it, to be safe.
                if written.completes or ours:
                    self._completed()
                if written.releases:
                    self._released()
        return [Settled.STORED if id(settlement) in stored else Settled.STALE for settlement in settlements]


def _rounds(settlements: Sequence[Settlement]) -> list[list[Settlement]]:
    if len({settlement.job_id.int for settlement in settlements}) == len(settlements):
        return [list(settlements)]
    by_job: dict[UUID, list[Settlement]] = {}
    for settlement in settlements:
        by_job.setdefault(settlement.job_id, []).append(settlement)
    longest = max(map(len, by_job.values()))
    return [[attempts[number] for attempts in by_job.values() if number < len(attempts)] for number in range(longest)]


def settle(connection: Connection, settlements: Sequence[Settlement]) -> Written:
    """Run SETTLE on a connection, in whatever transaction it is in; by `run_sync` from an event loop."""
    return _written(connection.execute(sql.SETTLE, parameters(settlements)).all())


def _written(rows: Sequence[Any]) -> Written:
    return Written(frozenset(row.id for row in rows), any(row.done for row in rows), any(row.releases for row in rows))


def parameters(settlements: Iterable[Settlement]) -> dict[str, object]:
    """The arrays of SETTLE, sorted by job. Two settlements of one job in a batch are a programming error."""
    rows = sorted(settlements, key=lambda settlement: settlement.job_id.int)
    assert len({row.job_id.int for row in rows}) == len(rows), "a job is settled twice in one batch"
    return {
        "ids": Uuids([row.job_id for row in rows]),
        "workers": Uuids([row.worker_id for row in rows]),
        "attempts": Ints([row.attempt for row in rows]),
        "actions": Texts([row.action.value for row in rows]),
        "results": Texts([row.result for row in rows]),
        "errors": Texts([None if row.error is None else _error_json(row.error) for row in rows]),
        "delays": Floats([row.delay for row in rows]),
        "counts": Ints([row.counts_as_failure for row in rows]),
        "losses": Ints([row.counts_as_loss for row in rows]),
        "causes": Texts([row.cause and row.cause.value for row in rows]),
    }


def _error_json(error: JobError) -> str:
    """A job error as the JSON that the error column holds; always storable."""
    trace = None if error.traceback is None else storable_text(error.traceback)
    return json.dumps({"kind": error.kind.value, "message": storable_text(error.message), "traceback": trace})


async def _settled_by_us(connection: AsyncConnection, settlements: Sequence[Settlement]) -> frozenset[UUID]:
    values = {
        "ids": [row.job_id for row in settlements],
        "workers": [row.worker_id for row in settlements],
        "attempts": [row.attempt for row in settlements],
        "actions": [row.action.value for row in settlements],
        "kinds": [row.error and row.error.kind.value for row in settlements],
    }
    return frozenset((await connection.execute(sql.SETTLED_BY_US, values)).scalars())
