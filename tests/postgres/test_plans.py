"""Plans: over 100,000 jobs no statement of the store reads a large table from end to end.

Each statement is explained twice: for real parameters, and as the generic plan that a prepared statement may get.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.dialects import postgresql

from daemon.postgres.database import sync_engine
from tests.harness.databases import TestDatabases
from tests.postgres.statements_of_the_store import NAMED

LARGE = {"job", "orchestration", "failed_attempt", "progress_note", "redelivery"}

FILL = """
INSERT INTO orchestration (id, job_name, total, created_at)
SELECT CAST(md5('o' || n) AS uuid), 'count', CASE WHEN n <= 8 THEN 10000 ELSE 1 END, now() - n * interval '1 minute'
FROM generate_series(1, 20008) n;

INSERT INTO job (id, orchestration_id, index, job_name, params, attempt, started_at, status, finish_number)
SELECT CAST(md5('j' || n) AS uuid),
       CAST(md5('o' || CASE WHEN n <= 80000 THEN n % 8 + 1 ELSE n - 80000 + 8 END) AS uuid),
       CASE WHEN n <= 80000 THEN n / 8 ELSE 0 END, 'count', '{"n": 1}', 1, now(),
       CASE WHEN n % 20 = 0 THEN 'Errored' ELSE 'Completed' END, CASE WHEN n <= 80000 THEN n / 8 + 1 ELSE 1 END
FROM generate_series(1, 100000) n;

INSERT INTO worker (id, host, slots) SELECT CAST(md5('w' || n) AS uuid), 'h', 100 FROM generate_series(1, 10) n;

-- Unfinished: a tenth of the first two orchestrations, half of that held, and a few of the lone ones.
UPDATE job SET status = 'InProgress', finish_number = NULL,
    worker_id = CASE WHEN index % 20 = 0 THEN CAST(md5('w' || (index / 20) % 10 + 1) AS uuid) END,
    publish_at = CASE WHEN index % 20 <> 0 THEN now() + (index % 7 - 3) * interval '10 minutes' END
WHERE orchestration_id IN (CAST(md5('o1') AS uuid), CAST(md5('o2') AS uuid)) AND index % 10 = 0;

UPDATE orchestration o SET completed = c.completed, errored = c.errored,
    completed_at = CASE WHEN c.completed + c.errored = o.total THEN o.created_at END,
    outcome = CASE WHEN c.completed + c.errored = o.total THEN 'Partial' END,
    event_published_at = CASE WHEN c.completed + c.errored = o.total AND random() < 0.999 THEN now() END
FROM (SELECT orchestration_id, count(*) FILTER (WHERE status = 'Completed') AS completed,
             count(*) FILTER (WHERE status = 'Errored') AS errored FROM job GROUP BY 1) c
WHERE c.orchestration_id = o.id;

INSERT INTO failed_attempt (job_id, attempt, kind, message)
SELECT id, 1, 'Raised', 'boom' FROM job;
INSERT INTO redelivery (job_id, cause) SELECT id, 'retry' FROM job LIMIT 20000;
INSERT INTO progress_note (job_id, orchestration_id, attempt, text)
SELECT id, orchestration_id, 1, 'note' FROM job LIMIT 20000;
"""

# Where a name means something else than in the other statements.
OWN_VALUES: dict[str, dict[str, Any]] = {
    "rejected.SHOW": {"id": 1},
    "rejected.CANDIDATE": {"id": 1},
    "orchestrations.CREATE": {"tags": "{}"},
    "orchestrations.CREATE_JOBS": {"tags": "{}", "limits": "[]"},
    "streams.CHANGES": {"shown": 10},
    "links.AUDIT_DONE": {"id": 1},
    "maintenance.YOUNG": {"first": 0},
    "maintenance.DELETE_JOBS": {"first": 0},
}

# Postgres keeps planning these for their values: what is recent is little, which a generic plan can't know.
NEVER_GENERIC = {"sweep.COUNTERS", "sweep.FINISH_NUMBERS"}


@pytest.fixture(scope="module")
def filled(databases: TestDatabases) -> Iterator[Connection]:
    url = databases.migrated()
    engine = sync_engine(url)
    with engine.connect() as connection:
        for statement in FILL.split(";\n"):
            connection.execute(text(statement))
        connection.commit()
        connection.execute(text("ANALYZE"))
        connection.commit()
        yield connection
    engine.dispose()
    databases.drop(url)


def _values(connection: Connection, statement: TextClause) -> dict[str, Any]:
    """A realistic value for each parameter of a statement. One that nobody has given a value here is an error."""
    jobs: list[UUID] = list(connection.execute(text("SELECT id FROM job ORDER BY id LIMIT 100")).scalars())
    arrays: dict[str, Any] = {
        "ids": jobs, "job_ids": jobs, "tokens": jobs, "orchestration_ids": jobs, "workers": jobs, "indexes": 0,
        "attempts": 1, "versions": 1, "totals": 1, "losses": 0, "delays": 0.0, "currents": 1.0, "counts": 1,
        "generations": 1, "carries_params": True, "published": 0.0, "numbers": 1, "bodies": b"",
        "moments": datetime.now(UTC),
        "seen": connection.execute(text("SELECT now()")).scalar(),
        "errors": None, "results": '"ok"', "params": "{}", "tags": "{}", "attributes": "{}", "checkpoints": "1",
        "actions": "complete", "kinds": "Raised", "causes": "retry", "names": "count",
        "traceparents": None, "message_ids": "1", "messages": "half", "reasons": "NotJson", "texts": "a line",
        "lows": 0, "highs": 500, "limits": "count", "keys": "", "limited": "other", "limit_jobs": "count",
        "limit_names": "count", "limit_sources": "tags", "limit_fields": "customer", "limit_sizes": 5,
        "limit_periods": 60.0,
        "afters": 5,
    }  # fmt: skip
    single: dict[str, Any] = {
        "me": uuid4(), "id": jobs[0], "orchestration_id": jobs[0], "limit": 100, "after": 5,
        "ttl": 30.0, "gap": 12.5, "republish_after": 3600.0, "since": 600.0, "late_after": 60.0, "idle": 60.0,
        "older_than": 86400.0, "status": "Errored", "start_at": None, "grace": 10.0, "total": 10, "reopened": 1,
        "parallelism": 5,
        "key": 1, "completed_age": 86400.0, "failed_age": 86400.0, "seen_at": None, "seen_id": jobs[0], "rows": 2000,
        "only_count": False, "retention": 604800.0,
        "after_created_at": connection.execute(text("SELECT now()")).scalar(), "after_id": jobs[0], "newer_than": 864e3,
        "having_tags": "{}", "kind": "Raised", "state": "Errored",
        "publishing": 30.0, "job_id": jobs[0], "examples": 3, "job_name": "count", "deadline": 60.0,
        "idempotency_key": "k", "traceparent": None, "again": True, "reason": "NotJson", "cause": "counters",
        "detail": "of a test", "host": "h", "revision": "r", "slots": 100, "running": 1, "draining": False,
        "generation": 1, "finishes": 5, "longest_due": True, "all": False, "delay": 1.0,
        "pool": "default", "lock_timeout": "5s", "first": 30.0, "longest": 3600.0, "most": 10,
        "timeout": "60s", "attempt": 1,
        "name": "count", "handlers": '[{"name": "count", "secrets": ["/a"]}]',
        "shown": ["counts"], "caller": "me", "action": "cancel", "lasts": 60.0, "of_id": None, "changed": 1,
        "small": 1000, "window": 10_000,
    }  # fmt: skip
    repeated = {name: value if isinstance(value, list) else [value] * len(jobs) for name, value in arrays.items()}
    known = repeated | single
    unknown = statement.compile().params.keys() - known.keys()
    assert not unknown, f"give these parameters a value in {__name__}._values: {sorted(unknown)}"
    return {name: known[name] for name in statement.compile().params}


def _scanned(node: dict[str, Any]) -> Iterator[str]:
    """Large tables that a plan reads whole: by a sequential scan, or along an index that holds all of their rows."""
    whole = node["Node Type"] == "Seq Scan" or (
        node["Node Type"] in ("Index Scan", "Index Only Scan")
        and "Index Cond" not in node
        and node["Index Name"].endswith(("_pkey", "_place", "_key"))
    )
    if whole and node.get("Relation Name") in LARGE:
        yield node["Relation Name"]
    for child in node.get("Plans", []):
        yield from _scanned(child)


def _explained(connection: Connection, statement: str, values: dict[str, Any]) -> set[str]:
    with connection.begin_nested() as point:
        (plan,) = connection.execute(text(f"EXPLAIN (FORMAT JSON) {statement}"), values).scalar_one()
        point.rollback()
    return set(_scanned(plan["Plan"]))


@pytest.mark.parametrize("name", NAMED)
def test_no_large_table_is_read_from_end_to_end(filled: Connection, name: str) -> None:
    statement = NAMED[name]
    values = _values(filled, statement) | OWN_VALUES.get(name, {})
    assert _explained(filled, statement.text, values) == set()


def test_a_parameter_without_a_value_exempts_no_statement(filled: Connection) -> None:
    with pytest.raises(AssertionError, match="never_heard_of"):
        _values(filled, text("SELECT FROM job WHERE id = :never_heard_of"))


@pytest.mark.parametrize("name", [name for name in NAMED if name not in NEVER_GENERIC])
def test_no_generic_plan_reads_a_large_table_from_end_to_end(filled: Connection, name: str) -> None:
    compiled = str(NAMED[name].compile(dialect=postgresql.psycopg.dialect()))
    numbers: dict[str, str] = {}
    numbered = re.sub(r"%\((\w+)\)s", lambda found: numbers.setdefault(found[1], f"${len(numbers) + 1}"), compiled)
    with filled.begin_nested() as point:
        raw = filled.connection.driver_connection
        assert raw is not None
        cursor = raw.cursor()
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE plan AS {numbered.replace('%%', '%')}")
        arguments = f"({', '.join(['NULL'] * len(numbers))})" if numbers else ""
        ((plan,),) = cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE plan{arguments}").fetchone()
        cursor.execute("DEALLOCATE plan")
        point.rollback()
    assert set(_scanned(plan["Plan"])) == set()
