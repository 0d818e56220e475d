"""The restore drill of docs/upgrade.md: dumped while workers run, restored into a fresh database, and work goes on."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from daemon.client import Client
from daemon.local.postgres import EmbeddedPostgres
from daemon.local.postgres.binaries import Binaries, version_of
from daemon.postgres.migrations import upgrade
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

HANDLERS = '''
"""Waits for a file, and notes each run."""
import asyncio
from pathlib import Path

from daemon import JobContext, job


@job("gated")
async def gated(params: dict, ctx: JobContext) -> dict:
    with Path(params["log"]).open("a") as log:
        log.write(f"{params['n']}\\n")
    while not (Path(params["gate"]).exists() or params["n"] < 3):
        await asyncio.sleep(0.02)
    return {"n": params["n"]}
'''


@pytest.fixture
def server() -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """A server whose own pg_dump and pg_restore are beside it, and their folder; the embedded one has none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    usable = [(path, version_of(path / "postgres")) for path in folders if (path / "pg_dump").exists()]
    found = [(path, version) for path, version in usable if version is not None]
    if not found:
        pytest.skip("needs a server with pg_dump (apt install postgresql)")
    path, version = found[0]
    folder = Path(tempfile.mkdtemp(prefix="headcount-restore-"))
    folder.chmod(0o711)
    with EmbeddedPostgres(folder / "postgres", binaries=Binaries(path, version, "beside pg_dump"), tcp_port=0) as made:
        yield made, path
    shutil.rmtree(folder, ignore_errors=True)


async def carried_out(program: Path, *words: str) -> None:
    done = await asyncio.create_subprocess_exec(program, *words)
    assert await done.wait() == 0


@pytest.mark.long
async def test_a_restored_dump_goes_on_and_only_what_ended_after_it_runs_again(
    server: tuple[EmbeddedPostgres, Path], project: str, pubsub: str, tmp_path: Path
) -> None:
    postgres, tools = server
    database_url, restored = postgres.url(), postgres.url("restored")
    upgrade(database_url)
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "__init__.py").write_text("")
    (tmp_path / "handlers" / "gated.py").write_text(HANDLERS)
    log, gate = tmp_path / "runs", tmp_path / "gate"
    options = {"handlers_path": tmp_path, "worker_ttl_seconds": 6, "slots": 8}
    before = worker_environment(database_url, project, pubsub, **options)
    typed("provision", environment=before)
    async with Client(load(before)) as client, WorkerProcess(before, tmp_path, handlers_in=tmp_path):
        work = [{"n": n, "log": str(log), "gate": str(gate)} for n in range(6)]
        started = await client.kick_off("gated", work)

        async def half_done() -> bool:
            state = await client.state(started.id)
            return (state.completed, state.running) == (3, 3)

        await until(half_done, within=30)
        file = tmp_path / "headcount.dump"
        await carried_out(tools / "pg_dump", "--format=custom", "--no-owner", f"--file={file}", database_url)
        gate.touch()
        assert (await started.wait(20)).completed == 6
    assert sorted(log.read_text().split()) == [str(n) for n in range(6)]

    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute("CREATE DATABASE restored")
    await carried_out(tools / "pg_restore", "--no-owner", f"--dbname={restored}", str(file))
    after = worker_environment(restored, project, pubsub, **options)
    async with Client(load(after)) as client:
        async with WorkerProcess(after, tmp_path, handlers_in=tmp_path):
            state = await client.orchestration(started.id).wait(60)
            assert (state.completed, state.errored, state.generation) == (6, 0, 1)

            async def published() -> bool:
                return (await client.state(started.id)).event_published_at is not None

            await until(published, within=20)
        assert [one.result async for one in client.orchestration(started.id).stream_results()] != []
    runs = sorted(log.read_text().split())
    assert runs == sorted(["0", "1", "2", *["3", "4", "5"] * 2]), "what ended before the dump did not run again"
    assert typed("verify", environment=after).returncode == 0
    with psycopg.connect(restored) as database:
        losses = database.execute("SELECT sum(losses) FROM job").fetchone()
    assert losses == (3,), "the workers of the dump are dead: each of their jobs counts one loss"
