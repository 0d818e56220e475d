"""A table or a privilege is missing for seconds while jobs run: their outcomes wait for it, and no job runs again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from daemon.client import Client
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

AWAY_SECONDS = 6.0
HANDLERS = """
import asyncio
from pathlib import Path

from daemon import JobContext, job


@job("patient")
async def patient(params: dict[str, str], ctx: JobContext) -> str:
    with Path(params["ran"]).open("a") as ran:
        ran.write(f"{ctx.attempt} ")
    while not Path(params["may_end"]).exists():
        await asyncio.sleep(0.02)
    ctx.note("at the end")
    return "done"
"""

BREAKS = {
    "history renamed": ("ALTER TABLE failed_attempt RENAME TO gone", "ALTER TABLE gone RENAME TO failed_attempt"),
    "notes renamed": ("ALTER TABLE progress_note RENAME TO gone", "ALTER TABLE gone RENAME TO progress_note"),
    "privilege revoked": ("REVOKE UPDATE ON orchestration FROM {role}", "GRANT UPDATE ON orchestration TO {role}"),
}


def run_as(url: str, role: str) -> str:
    """The same database for a role that may do with its tables what a worker must."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
        connection.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}".encode())
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


@pytest.mark.parametrize("broken", BREAKS)
async def test_a_job_that_ends_meanwhile_has_run_once_and_is_completed(
    database_url: str, pubsub: str, project: str, tmp_path: Path, broken: str
) -> None:
    role = f"worker_{uuid4().hex[:8]}"
    breaking, putting_right = [statement.format(role=role) for statement in BREAKS[broken]]
    environment = worker_environment(run_as(database_url, role), project, pubsub)
    typed("provision", environment=environment)
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "__init__.py").write_text("")
    (tmp_path / "handlers" / "patient.py").write_text(HANDLERS)
    ran, may_end = tmp_path / "ran", tmp_path / "may_end"

    def look(statement: str) -> Callable[[], list[tuple[object, ...]]]:
        def asked() -> list[tuple[object, ...]]:
            with psycopg.connect(database_url, autocommit=True) as connection:
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []

        return asked

    try:
        async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker:
            async with Client(load(environment)) as client:
                first = await client.kick_off("patient", [{"ran": str(ran), "may_end": str(may_end)}] * 3)
                await until(lambda: ran.exists() and len(ran.read_text().split()) == 3)
                look(breaking)()
                may_end.touch()
                await until(lambda: "does not answer" in worker.log or worker.status_of("/readyz") == 503, within=20)
                late = await client.kick_off("patient", [{"ran": str(ran), "may_end": str(may_end)}])
                await asyncio.sleep(AWAY_SECONDS)  # how long it lasts is what the test is about
                look(putting_right)()
                await first.wait(timeout=30)
                await late.wait(timeout=30)
            log = worker.log
        done = look("SELECT status, attempt, failures, losses FROM job")()
        assert done == [("Completed", 1, 0, 0)] * 4
        assert ran.read_text().split() == ["1"] * 4
        assert look("SELECT count(*) FROM progress_note")() == [(4,)]
        assert "bug" not in log
        assert "held here but not run" not in log
    finally:
        look(f"DROP OWNED BY {role}")()
        look(f"DROP ROLE {role}")()
