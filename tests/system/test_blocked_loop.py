"""A handler that blocks the event loop is named while it does so: in the log and on /livez, by job and by stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.client import Client
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

HANDLERS = '''
"""One handler that blocks by itself, one that blocks in a task of its own, and one that waits as it should."""
import asyncio
import time

from daemon import job


def press(secret: str, seconds: float) -> None:
    time.sleep(seconds)


@job("press_hard")
async def press_hard(params: dict) -> None:
    press("sesame-opens", params["seconds"])


@job("press_inside")
async def press_inside(params: dict) -> None:
    async def inner() -> None:
        press("sesame-opens", params["seconds"])

    async with asyncio.TaskGroup() as group:
        group.create_task(inner())


@job("wait_politely")
async def wait_politely(params: dict) -> None:
    await asyncio.sleep(params["seconds"])
'''


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, tmp_path: Path) -> dict[str, str]:
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "pressing.py").write_text(HANDLERS)
    (package / "waiting.py").write_text(HANDLERS[: HANDLERS.index("@job")] + HANDLERS[HANDLERS.index('@job("wait') :])
    text = (package / "pressing.py").read_text()
    (package / "pressing.py").write_text(text[: text.index('@job("wait')])
    settings = worker_environment(database_url, project, pubsub, handlers_path=tmp_path, event_loop_timeout_seconds=24)
    typed("provision", environment=settings)
    return settings


def blocks(worker: WorkerProcess) -> list[dict[str, Any]]:
    return [line for line in worker.log_records() if line["message"].startswith("the event loop was blocked")]


@pytest.mark.parametrize("name", ["press_hard", "press_inside"])
async def test_the_job_that_blocks_the_loop_is_named_with_its_stack_while_it_lasts(
    environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    async with (
        WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker,
        Client(load(environment)) as client,
    ):
        await client.kick_off("wait_politely", [{"seconds": 60}])
        await until(
            lambda: (
                'headcount_jobs_started_total{job_name="wait_politely",pool="default"} 1.0'
                in worker.body_of("/metrics")
            )
        )
        started = await client.kick_off(name, [{"seconds": 16}])
        first = (await until(lambda: blocks(worker), within=15))[0]
        job_id = str((await client.running(started.id, 1))[0].job_id)
        labels = first["logging.googleapis.com/labels"]
        assert (labels["job_name"], labels["job_id"], labels["attempt"]) == (name, job_id, "1")
        assert labels["orchestration_id"] == str(started.id)
        assert first["seconds"] >= 1.0
        (innermost, caller, *_) = first["stack"]
        assert innermost.endswith(" in press")
        assert "pressing.py:" in innermost
        assert caller.endswith((" in press_hard", " in inner"))
        assert len(first["stack"]) <= 20
        assert "sesame" not in worker.log

        await until(lambda: worker.status_of("/livez") == 503, within=20)
        (problem,) = json.loads(worker.body_of("/livez"))["problems"]
        for part in ("the event loop has not answered for", name, job_id, "attempt 1", "pressing.py:", "in press"):
            assert part in problem
        assert "wait_politely" not in problem

        await until(lambda: worker.status_of("/livez") == 200, within=20)
        again = blocks(worker)
        assert 2 <= len(again) <= 5, "it is said again while it lasts, every five seconds"
        assert {line["logging.googleapis.com/labels"]["job_id"] for line in again} == {job_id}
        assert [line["seconds"] for line in again] == sorted(line["seconds"] for line in again)
