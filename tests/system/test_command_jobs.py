"""Programs as jobs of a real worker: from the kick-off to the result, and whatever ends the worker before them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.unit.engine.commands import gone, number_in

LONG = "echo $$ > program; [ $1 = 1 ] || exit 0; exec sleep 600"


@pytest.fixture
async def environment(database_url: str, project: str, pubsub: str) -> dict[str, str]:
    packages = "handlers,tests.system.command_jobs"
    made = worker_environment(database_url, project, pubsub, handlers=packages, drain_seconds=0.5)
    await provision(desired(load(made)))
    return made


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(environment)) as opened:
        yield opened


async def test_a_plain_program_is_a_job_that_completes_or_says_why_not(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    text = tmp_path / "-text.txt"
    text.write_text("a line\n" * 1000)
    async with WorkerProcess(environment, tmp_path):
        orchestration = await client.kick_off(
            "compress_file", [{"path": str(text), "level": 9}, {"path": str(tmp_path / "missing")}]
        )
        async with asyncio.timeout(60):
            await orchestration.wait()
        done, failed = await client.outcomes(orchestration.id)
    assert (done.status, done.result) == ("Completed", "null")
    assert gzip.decompress(text.with_name("-text.txt.gz").read_bytes()).decode() == text.read_text()
    assert failed.error is not None
    assert (failed.error.kind, failed.failures) == ("Exited", 2)
    assert failed.error.message.startswith(f"gzip: exit code 1: gzip: {tmp_path}/missing: No such file")


async def test_progress_notes_and_the_result_of_a_program_are_stored_and_its_output_is_logged_with_its_job(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    script = (
        "echo ::progress 1/2 half; echo ::note Hello; echo out; echo err >&2; until [ -e go ]; do sleep 0.05; done; "
    )
    script += 'echo "::result [$CLOUD_RUN_TASK_INDEX, \\"${HEADCOUNT_DATABASE_URL-none}\\"]"'
    async with WorkerProcess(environment, tmp_path) as worker:
        orchestration = await client.kick_off("run_script", [{"script": script, "folder": str(tmp_path)}])

        async def half() -> bool:
            running = await client.running(orchestration.id)
            return bool(running) and running[0].progress.message == "half"

        await until(half)
        (tmp_path / "go").touch()
        async with asyncio.timeout(60):
            successes, _ = await orchestration.results()
        assert [one.result for one in successes] == [[0, "none"]]
        lines = {line["message"]: line for line in worker.log_records() if line.get("stream")}
    assert {name: line["stream"] for name, line in lines.items()} == {"out": "stdout", "err": "stderr"}
    assert lines["out"]["logging.googleapis.com/labels"]["orchestration_id"] == str(orchestration.id)


@pytest.mark.parametrize("end", ["drain", "kill"])
async def test_a_program_ends_with_its_worker_and_its_job_goes_on_elsewhere(
    environment: dict[str, str], client: Client, tmp_path: Path, end: str
) -> None:
    environment = {**environment, "HEADCOUNT_WORKER_TTL_SECONDS": "3"}
    async with WorkerProcess(environment, tmp_path) as first:
        orchestration = await client.kick_off("run_script", [{"script": LONG, "folder": str(tmp_path)}])
        pid = await number_in(tmp_path / "program")
        if end == "drain":
            first.terminate()
            await first.until_exit()
        else:
            first.kill()
        await gone(pid)
    async with WorkerProcess(environment, tmp_path), asyncio.timeout(60):
        await orchestration.wait()
        (outcome,) = await client.outcomes(orchestration.id)
    assert (outcome.status, outcome.failures) == ("Completed", 0)


async def test_a_cancelled_program_is_ended(environment: dict[str, str], client: Client, tmp_path: Path) -> None:
    environment = {**environment, "HEADCOUNT_WORKER_TTL_SECONDS": "6"}
    async with WorkerProcess(environment, tmp_path):
        orchestration = await client.kick_off("run_script", [{"script": LONG, "folder": str(tmp_path)}])
        pid = await number_in(tmp_path / "program")
        assert await orchestration.cancel() == 1
        await gone(pid)
