"""What operators change: old rows deleted, waiting jobs published again, orphans removed.

Called by the command line. Everything here is safe to repeat and to interrupt, and works in small transactions, so that
nothing else waits for it long; one that meets a deadlock is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.postgres.database import passes
from daemon.postgres.orchestrations import Orchestrations
from daemon.postgres.statements import maintenance as sql
from daemon.postgres.statements import outbox_events as event_sql
from daemon.postgres.statements import outbox_jobs as job_sql
from daemon.postgres.statements import rejected as rejected_sql

ROWS = 2_000  # in one transaction
CANDIDATES = 500
TRIES = 5
PAUSE = 0.1
FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Ages:
    """How old what is pruned must be, in seconds: orchestrations that are Completed, and all others.

    Counted from their completion, or from the last publish of one of their jobs if that was later. Rejected messages,
    repairs and redeliveries go at the age of `failed`.
    """

    completed: float
    failed: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were deleted, or would be; a job's attempts, notes and redeliveries go with it."""

    orchestrations: int = 0
    jobs: int = 0
    redeliveries: int = 0
    repairs: int = 0
    rejected: int = 0
    signals: int = 0


@dataclass(frozen=True, slots=True)
class _Pack:
    """Orchestrations that are pruned together; a span is above the highest index of their jobs."""

    spans: Mapping[UUID, int]

    @property
    def ids(self) -> list[UUID]:
        return list(self.spans)

    @property
    def span(self) -> int:
        return max(self.spans.values(), default=0)

    @property
    def jobs(self) -> int:
        return sum(self.spans.values())

    def only(self, ids: Iterable[UUID]) -> _Pack:
        return _Pack({one: self.spans[one] for one in ids})


class Maintenance:
    """Deletes and re-dates rows for operators."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def prune(self, ages: Ages, *, dry_run: bool = False) -> Pruned:
        """Delete what is old: orchestrations whose event was published, with their jobs, and the other histories.

        An earlier prune that was interrupted is finished first.
        """
        orchestrations = jobs = 0
        if not dry_run:
            async for pack in self._interrupted():
                jobs += await self._delete_jobs(pack)
                orchestrations += await self._delete_orchestrations(pack)
        async for pack in self._old(ages):
            if dry_run:
                orchestrations, jobs = orchestrations + len(pack.ids), jobs + pack.jobs
                continue
            marked = await self._run(sql.MARK, {"ids": pack.ids, **_ages(ages)})
            ours = pack.only(row["id"] for row in marked)
            jobs += await self._delete_jobs(ours)
            orchestrations += await self._delete_orchestrations(ours)
        return Pruned(
            orchestrations,
            jobs,
            await self._delete_pages(sql.DELETE_REDELIVERIES, ages, dry_run),
            await self._delete_pages(sql.DELETE_REPAIRS, ages, dry_run),
            await self._delete_pages(sql.DELETE_REJECTED, ages, dry_run),
            await self._delete_pages(sql.DELETE_SIGNALS, ages, dry_run),
        )

    async def delete_orphans(self, orchestration_id: UUID) -> int:
        """Delete the jobs of an orchestration that has no row; how many. Those of one that has a row are kept."""
        deleted = 0
        while rows := await self._run(sql.DELETE_ORPHANS, {"id": orchestration_id, "rows": ROWS}):
            deleted += len(rows)
        return deleted

    async def republish(self, orchestration_id: UUID | None) -> int:
        """Make every free, due job and every refused event of an orchestration (or of all) due for publication now.

        How many messages that are. Raises OrchestrationNotFound.
        """
        values: dict[str, object] = {"orchestration_id": orchestration_id}
        statements = (job_sql.REPUBLISH, event_sql.REPUBLISH)
        if orchestration_id is None:
            values, statements = {}, (job_sql.REPUBLISH_ALL, event_sql.REPUBLISH_ALL)
        else:
            await Orchestrations(self._engine).state(orchestration_id)
        return sum([len(await self._run(statement, values)) for statement in statements])

    async def mark_replayed(self, numbers: Sequence[int]) -> None:
        """Note that rejected messages were published again."""
        await self._run(rejected_sql.REPLAYED, {"numbers": list(numbers)})

    async def purge_rejected(self, older_than: float) -> int:
        """Delete rejected messages older than so many seconds; how many."""
        return len(await self._run(rejected_sql.PURGE, {"older_than": older_than}))

    async def _interrupted(self) -> AsyncIterator[_Pack]:
        before: list[UUID] = []
        while rows := await self._run(sql.INTERRUPTED, {"limit": CANDIDATES}):
            ids = [row["id"] for row in rows]
            if ids == before:  # somebody else prunes them at this moment
                return
            for pack in _packs(rows):
                yield pack
            before = ids

    async def _old(self, ages: Ages) -> AsyncIterator[_Pack]:
        """Everything old enough, in packs of at most ROWS jobs, or of one orchestration that has more."""
        seen_at: datetime | None = None
        seen_id = FIRST_ID
        while True:
            values = {"seen_at": seen_at, "seen_id": seen_id, "limit": CANDIDATES, **_ages(ages)}
            rows = await self._run(sql.CANDIDATES, values)
            if not rows:
                return
            for pack in _packs(rows):
                young = await self._young(pack, ages)
                if len(young) < len(pack.ids):
                    yield pack.only(one for one in pack.ids if one not in young)
            seen_at, seen_id = rows[-1]["completed_at"], rows[-1]["id"]

    async def _young(self, pack: _Pack, ages: Ages) -> set[UUID]:
        """Those of which a job was published too recently: its message may still be under way."""
        young: set[UUID] = set()
        for first in range(0, pack.span, ROWS):
            rows = await self._run(sql.YOUNG, {"ids": pack.ids, "first": first, "rows": ROWS, **_ages(ages)})
            young.update(row["id"] for row in rows)
        return young

    async def _delete_jobs(self, pack: _Pack) -> int:
        deleted = 0
        while await self._run(sql.DELETE_NOTES, {"ids": pack.ids, "rows": ROWS}):
            pass
        for first in range(0, pack.span, ROWS):
            deleted += len(await self._run(sql.DELETE_JOBS, {"ids": pack.ids, "first": first, "rows": ROWS}))
        return deleted

    async def _delete_orchestrations(self, pack: _Pack) -> int:
        return len(await self._run(sql.DELETE_ORCHESTRATIONS, {"ids": pack.ids}))

    async def _delete_pages(self, statement: TextClause, ages: Ages, dry_run: bool) -> int:
        after = 0
        deleted: int = 0
        while True:
            values = {"after": after, "rows": ROWS, "failed_age": ages.failed, "only_count": dry_run}
            (page,) = await self._run(statement, values)
            deleted += int(page["old"])
            if page["seen"] < ROWS or page["old"] == 0:
                return deleted
            after = page["last"]

    async def _run(self, statement: TextClause, values: Mapping[str, Any]) -> Sequence[RowMapping]:
        """One transaction; again when a deadlock or a lost link ended it, which is safe for everything here."""
        for tried in range(1, TRIES + 1):
            try:
                async with self._engine.begin() as connection:
                    return (await connection.execute(statement, values)).mappings().all()
            except DBAPIError as error:
                if tried == TRIES or not passes(error):
                    raise
            await asyncio.sleep(PAUSE * tried)
        raise AssertionError("the last try returns or raises")


def _packs(rows: Sequence[RowMapping]) -> Iterator[_Pack]:
    """At most ROWS jobs in one, except where a single orchestration has more."""
    spans: dict[UUID, int] = {}
    for row in rows:
        if spans and sum(spans.values()) + row["span"] > ROWS:
            yield _Pack(spans)
            spans = {}
        spans[row["id"]] = row["span"]
    if spans:
        yield _Pack(spans)


def _ages(ages: Ages) -> dict[str, float]:
    return {"completed_age": ages.completed, "failed_age": ages.failed}
