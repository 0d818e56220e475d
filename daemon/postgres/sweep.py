"""The sweeper's recount, and the same checks read-only for `headcount verify`.

Called by a ticker and by the command line. The mechanism is right without it: whatever it repairs is counted as a bug,
kept in the table `repair`, and fails the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import RowMapping, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.inspection import Violation
from daemon.observe import Observer
from daemon.postgres.statements import sweep as sql

SWEEP_LOCK = 7_310_554_921_337_002
RECENT_SECONDS = 600.0
FOREVER = 1e9
LIMIT = 100
LATE_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    statement: TextClause
    words: Callable[[RowMapping], str]


_CHECKS = (
    _Check(
        "counters",
        sql.COUNTERS,
        lambda row: (
            f"counts {row['completed']} completed and {row['errored']} errored of {row['total']}, but its rows say "
            f"{row['rows_completed']} and {row['rows_errored']} of {row['rows_total']}"
        ),
    ),
    _Check(
        "finish_numbers",
        sql.FINISH_NUMBERS,
        lambda row: f"counted {row['finishes']} heads; its rows hold {row['finished']} numbers up to {row['last']}",
    ),
    _Check(
        "orphans",
        sql.ORPHANS,
        lambda row: (
            f"has no row, but {row['jobs']} jobs of it have ({row['unfinished']} unfinished): restore the row from a "
            "backup, or delete the jobs with `headcount verify --delete-orphans`"
        ),
    ),
    _Check("dead_holders", sql.DEAD_CLAIMANTS, lambda row: f"has no heartbeat and still holds {row['jobs']} jobs"),
    _Check("overdue_jobs", sql.OVERDUE_JOBS, lambda row: f"should have been published {row['late']:.0f} s ago"),
    _Check("overdue_events", sql.OVERDUE_EVENTS, lambda row: f"completed {row['late']:.0f} s ago without an event"),
    _Check(
        "unclosed",
        sql.UNCLOSED,
        lambda row: f"was {'cancelled' if row['cancelled'] else 'due'} and still has unfinished instances",
    ),
    _Check(
        "idle_permits",
        sql.IDLE_PERMITS,
        lambda row: f"does not run and has a permit of {row['limit_name']!r} ({row['key']!r})",
    ),
    _Check(
        "steps",
        sql.STEPS,
        lambda row: f"has step {row['name']!r} of attempt {row['attempt']}, and is at attempt {row['current']}",
    ),
    _Check("constraints", sql.CONSTRAINTS, lambda _row: "is missing from the schema, or not validated"),
)


async def verify(engine: AsyncEngine, worker_ttl: float) -> list[Violation]:
    """Every broken invariant of the whole database, at most 100 a check. Writes nothing."""
    values = {"since": FOREVER, "limit": LIMIT, "ttl": worker_ttl, "late_after": LATE_AFTER}
    found: list[Violation] = []
    async with engine.connect() as connection:
        for check in _CHECKS:
            names = check.statement.compile().params
            rows = await connection.execute(check.statement, {name: values[name] for name in names})
            found += [Violation(check.name, str(row["id"]), check.words(row)) for row in rows.mappings()]
    return found


class Sweeper:
    """Recounts what is unfinished or has just been finished; one worker of the fleet at a time."""

    def __init__(self, engine: AsyncEngine, observer: Observer, completed: Callable[[], None]) -> None:
        self._engine = engine
        self._observer = observer
        self._completed = completed

    async def sweep(self) -> None:
        """One round; what it repairs is recorded and reported."""
        async with self._engine.begin() as connection:
            if not (await connection.execute(sql.TRY_LOCK, {"key": SWEEP_LOCK})).scalar_one():
                return
            values = {"since": RECENT_SECONDS, "limit": LIMIT}
            rows = (await connection.execute(sql.COUNTERS, values)).mappings().all()
        repaired = 0
        for row in rows:
            async with self._engine.begin() as connection:
                repaired += await self._recount(connection, row)
        if repaired:
            self._observer.repaired("counters", repaired)
            self._completed()

    async def _recount(self, connection: AsyncConnection, row: RowMapping) -> int:
        # With the orchestration locked no settlement is half way: the recount, a new statement, sees them all.
        await connection.execute(sql.LOCK_ORCHESTRATION, {"id": row["id"]})
        if (await connection.execute(sql.RECOUNT, {"id": row["id"]})).first() is None:
            return 0
        words = _CHECKS[0].words(row)
        await connection.execute(sql.RECORD, {"cause": "counters", "orchestration_id": row["id"], "detail": words})
        return 1
