"""One settlement statement for a batch: outcomes, counters, completion and history in one transaction.

Called by the store's settle lane (async) and by everything that ends jobs from outside. A settlement that finds no row
is either our own earlier try, whose answer was lost (stored), or stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.job import JobError, Settled, Settlement
from daemon.postgres.arrays import Floats, Ints, Texts, Uuids
from daemon.postgres.statements import settle as sql
from daemon.postgres.wire import Kept, Link, commit_together, link_of
from daemon.rules.storable import storable_text


@dataclass(frozen=True, slots=True)
class Written:
    """What one SETTLE did: the jobs it changed, and whether an orchestration completed."""

    jobs: frozenset[UUID]
    completes: bool


class Settlements:
    """Writes batches of settlements."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.kept = Kept(engine)

    async def write(self, settlements: list[Settlement]) -> tuple[list[Settled], bool]:
        """For each settlement: stored or stale; and whether any of them completed an orchestration.

        A worker that lost a job and claimed it again can settle both attempts at once: one statement takes one of them.
        """
        stored: set[int] = set()  # by identity: hashing all the fields of a settlement costs more than the rest
        completes = False
        async with self.kept.connection() as connection:
            for distinct in _rounds(settlements):
                written = await _settle_and_commit(link_of(connection), distinct)
                mine: frozenset[UUID] = frozenset()
                if len(written.jobs) == len(distinct):
                    stored.update(map(id, distinct))
                else:
                    mine = await _mine_already(connection, [one for one in distinct if one.job_id not in written.jobs])
                    stored.update(id(one) for one in distinct if one.job_id in written.jobs or one.job_id in mine)
                # An earlier try of ours may have completed an orchestration: say so, to be safe.
                completes = completes or written.completes or bool(mine)
        return [Settled.STORED if id(one) in stored else Settled.STALE for one in settlements], completes


def _rounds(settlements: Sequence[Settlement]) -> list[list[Settlement]]:
    if len({one.job_id.int for one in settlements}) == len(settlements):
        return [list(settlements)]
    rounds: list[dict[UUID, Settlement]] = []
    for one in settlements:
        for taken in rounds:
            if one.job_id not in taken:
                taken[one.job_id] = one
                break
        else:
            rounds.append({one.job_id: one})
    return [list(taken.values()) for taken in rounds]


async def _settle_and_commit(link: Link, settlements: Sequence[Settlement]) -> Written:
    (rows,) = await commit_together(link, [(sql.SETTLE, parameters(settlements))])
    return Written(frozenset(row.id for row in rows), any(row.done for row in rows))


async def settle(connection: AsyncConnection, settlements: Sequence[Settlement]) -> Written:
    """Run SETTLE on a connection, in whatever transaction it is in."""
    rows = (await connection.execute(sql.SETTLE, parameters(settlements))).all()
    return Written(frozenset(row.id for row in rows), any(row.done for row in rows))


def settle_in_thread(connection: Connection, settlements: Sequence[Settlement]) -> Written:
    """The same for a thread without an event loop."""
    rows = connection.execute(sql.SETTLE, parameters(settlements)).all()
    return Written(frozenset(row.id for row in rows), any(row.done for row in rows))


def parameters(settlements: Iterable[Settlement]) -> dict[str, object]:
    """The arrays of SETTLE, sorted by job. Two settlements of one job in a batch are a programming error."""
    rows = sorted(settlements, key=lambda one: one.job_id.int)
    assert len({row.job_id.int for row in rows}) == len(rows), "a job is settled twice in one batch"
    return {
        "ids": Uuids([row.job_id for row in rows]),
        "workers": Uuids([row.worker_id for row in rows]),
        "attempts": Ints([row.attempt for row in rows]),
        "actions": Texts([row.action.value for row in rows]),
        "results": Texts([row.result for row in rows]),
        "errors": Texts([None if row.error is None else error_json(row.error) for row in rows]),
        "delays": Floats([row.delay for row in rows]),
        "counts": Ints([row.counts_as_failure for row in rows]),
        "losses": Ints([row.counts_as_loss for row in rows]),
        "causes": Texts([None if row.cause is None else row.cause.value for row in rows]),
    }


def error_json(error: JobError) -> str:
    """A job error as the JSON that the error column holds; always storable."""
    trace = None if error.traceback is None else storable_text(error.traceback)
    return json.dumps({"kind": error.kind.value, "message": storable_text(error.message), "traceback": trace})


async def _mine_already(connection: AsyncConnection, settlements: Sequence[Settlement]) -> frozenset[UUID]:
    rows = await connection.execute(
        sql.MINE_ALREADY,
        {
            "ids": [one.job_id for one in settlements],
            "workers": [one.worker_id for one in settlements],
            "attempts": [one.attempt for one in settlements],
            "actions": [one.action.value for one in settlements],
            "kinds": [None if one.error is None else one.error.kind.value for one in settlements],
        },
    )
    return frozenset(row.id for row in rows)
