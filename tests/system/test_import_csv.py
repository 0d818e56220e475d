"""`import_csv`: whoever is killed while it runs, and however often, the table holds the rows of the file."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from daemon.client import Client
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from daemon.testing import HandlerFailed, run_handler
from handlers.import_csv import ImportCsv, import_csv
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment

TABLE = "CREATE TABLE items (id uuid PRIMARY KEY, sku text NOT NULL, name text, price numeric(10, 2))"
ROWS = "SELECT sku, name, price::text FROM items ORDER BY sku"
WAITS = "SELECT count(*) FROM pg_locks WHERE relation = 'items'::regclass AND NOT granted"
COLUMNS = ("sku", "name", "price")
SHARDS = 2


@pytest.fixture
def items(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A connection to a database that has the table, and `IMPORT_DATABASE_URL` for it."""
    monkeypatch.setenv("IMPORT_DATABASE_URL", empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection


def written(path: Path, *rows: Sequence[str], columns: Sequence[str] = COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def params(path: Path) -> dict[str, object]:
    return {"path": str(path), "table": "items", "key": ["sku"]}


async def test_the_shards_of_a_file_make_one_table_and_another_import_the_same(
    items: psycopg.Connection, tmp_path: Path
) -> None:
    rows = [(f"s{number % 50}", f"Cup,\n{number}", "" if number % 7 else "1.5") for number in range(120)]
    path = written(tmp_path / "items.csv", *rows)
    expected = sorted(
        (sku, name, "1.50" if price else None) for sku, name, price in {row[0]: row for row in rows}.values()
    )
    for _ in range(2):
        results = [await run_handler(import_csv, params(path), index=index, count=SHARDS) for index in range(SHARDS)]
        assert sum(result["rows"] for result in results if isinstance(result, dict)) == 50  # type: ignore[misc]
        assert items.execute(ROWS).fetchall() == expected
    ids = items.execute("SELECT id FROM items ORDER BY id").fetchall()
    items.execute("TRUNCATE items")
    await run_handler(import_csv, params(path))
    assert items.execute("SELECT id FROM items ORDER BY id").fetchall() == ids


@pytest.mark.parametrize(
    ("rows", "columns", "why"),
    [
        ([("a", "Cup", "cheap")], COLUMNS, "InvalidTextRepresentation"),
        ([("a", "Cup", "1"), ("b", "Cup")], COLUMNS, "GiveUp: .*line 3: 2 fields instead of 3"),
        ([("a", "1")], ("sku", "colour"), "UndefinedColumn"),
        ([("1", "Cup")], ("price", "name"), "GiveUp: .*has no column sku"),
        ([("a", "Cup", "1"), ("", "Cup", "1")], COLUMNS, "NotNullViolation"),
    ],
)
async def test_a_file_that_does_not_fit_is_given_up_and_nothing_of_it_stays(
    items: psycopg.Connection, tmp_path: Path, rows: list[Sequence[str]], columns: Sequence[str], why: str
) -> None:
    with pytest.raises(HandlerFailed, match=why):
        await run_handler(import_csv, params(written(tmp_path / "items.csv", *rows, columns=columns)))
    assert items.execute(ROWS).fetchall() == []


async def test_workers_that_are_killed_in_the_middle_leave_the_same_rows(
    items: psycopg.Connection, database_url: str, project: str, pubsub: str, empty_database_url: str, tmp_path: Path
) -> None:
    own = {"handlers": "handlers.import_csv", "process_slots": SHARDS, "worker_ttl_seconds": 2}
    environment = worker_environment(database_url, project, pubsub, **own)
    environment["IMPORT_DATABASE_URL"] = empty_database_url
    await provision(desired(load(environment)))
    rows = [(f"s{number}", "Cup", f"{number}.00") for number in range(3000)]
    imported = ImportCsv(path=written(tmp_path / "items.csv", *rows), table="items", key=["sku"])

    def in_the_middle() -> bool:  # its rows are copied, and wait for the table
        return items.execute(WAITS).fetchone() == (SHARDS,)

    async with Client(load(environment)) as client:
        with psycopg.connect(empty_database_url) as holder:
            holder.execute("LOCK TABLE items IN SHARE MODE")
            async with WorkerProcess(environment, tmp_path) as worker:
                orchestration = await client.kick_off(import_csv, [imported] * SHARDS)
                await until(in_the_middle, within=30)
                worker.kill()
        async with WorkerProcess(environment, tmp_path), asyncio.timeout(60):
            successes, failures = await orchestration.results()
        attempts = {outcome.attempt for outcome in await client.outcomes(orchestration.id)}
    assert failures is None
    assert sum(one.result["rows"] for one in successes) == len(rows)
    assert attempts == {2}
    assert items.execute(ROWS).fetchall() == sorted(rows)
