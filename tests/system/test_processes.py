"""`headcount run --processes N`: N complete workers under one supervisor, each on a port of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import psycopg
import pytest

from daemon.bench.load import publish
from daemon.bench.stack import Environment
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment

JOBS = 300


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str) -> dict[str, str]:
    made = worker_environment(database_url, project, pubsub, handlers="daemon.bench.jobs")
    asyncio.run(provision(desired(load(made))))
    return made


def _supervised(environment: dict[str, str], folder: Path, count: int = 2) -> WorkerProcess:
    return WorkerProcess(environment, folder, command=("run", "--processes", str(count)))


def _workers(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM worker").fetchone()
    assert row is not None
    return int(row[0])


def _children(supervisor: WorkerProcess) -> list[psutil.Process]:
    return psutil.Process(supervisor.pid).children()


async def _both_ready(supervisor: WorkerProcess, url: str) -> None:
    await until(lambda: _workers(url) == 2 and len(_children(supervisor)) == 2, within=30, what="both workers work")


async def test_two_processes_share_the_work_and_answer_on_two_ports(
    environment: dict[str, str], database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    async with _supervised(environment, tmp_path) as supervisor:
        await _both_ready(supervisor, database_url)
        second = WorkerProcess({**environment, "HEADCOUNT_HTTP_PORT": str(supervisor.port + 1)}, tmp_path)
        await until(lambda: second.status_of("/readyz") == 200, within=20, what="the second port answers")
        publish(Environment(database_url, project, pubsub), "noop", JOBS, per_orchestration=JOBS)
        with psycopg.connect(database_url, autocommit=True) as connection:

            def done() -> bool:
                row = connection.execute("SELECT completed FROM orchestration").fetchone()
                return row is not None and row[0] == JOBS

            await until(done, within=30, what="all jobs are completed")


async def test_a_crashed_worker_is_started_again_and_the_other_goes_on(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    async with _supervised(environment, tmp_path) as supervisor:
        await _both_ready(supervisor, database_url)
        victim, other = _children(supervisor)
        victim.kill()

        def replaced() -> bool:
            now = _children(supervisor)
            return len(now) == 2 and victim not in now and other in now

        await until(replaced, within=20, what="a new worker took the place of the killed one")
        await supervisor.until_logged("a worker ended and is started again")


async def test_sigterm_drains_all_of_them_within_the_budget(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    async with _supervised(environment, tmp_path) as supervisor:
        await _both_ready(supervisor, database_url)
        children = _children(supervisor)
        supervisor.terminate()
        await supervisor.until_exit(code=0, within=10)
        assert not any(child.is_running() for child in children)
        assert _workers(database_url) == 0


async def test_a_worker_that_refuses_to_start_ends_all_with_its_exit_code(
    environment: dict[str, str], tmp_path: Path
) -> None:
    broken = {**environment, "HEADCOUNT_JOBS_SUBSCRIPTION": "missing"}
    supervisor = _supervised(broken, tmp_path)
    supervisor.start()
    await supervisor.until_exit(code=2, within=30)


async def test_no_worker_outlives_a_killed_supervisor(
    environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    async with _supervised(environment, tmp_path) as supervisor:
        await _both_ready(supervisor, database_url)
        children = _children(supervisor)
        os.kill(supervisor.pid, signal.SIGKILL)

        def gone() -> bool:
            return not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)

        await until(gone, within=15, what="the workers have drained and ended")
