"""A long lock on the table of jobs, as a change of the schema takes it: workers wait without filling the server.

LONG=1 holds it for 150 s.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import psycopg
import pytest

from daemon.bench.load import publish
from daemon.bench.stack import Environment
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment

JOBS = 40
WORKERS = 2
MOST_A_WORKER = 8
LOCKED_SECONDS = 150.0 if os.environ.get("LONG") else 40.0
BACKENDS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'headcount' AND backend_type = 'client backend'"
)


def _number(connection: psycopg.Connection, statement: str) -> int:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


async def _most_backends(watcher: psycopg.Connection, seconds: float) -> int:
    """The most server connections that workers had at the same time, within so many seconds."""
    most, end = 0, time.monotonic() + seconds

    def over() -> bool:
        nonlocal most
        most = max(most, _number(watcher, BACKENDS))
        return time.monotonic() >= end

    await until(over, within=seconds + 30, what="the lock was held for long enough")
    return most


@pytest.mark.long
async def test_a_long_lock_on_the_jobs_never_takes_more_than_eight_connections_a_worker(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    variables = worker_environment(database_url, project, pubsub, handlers="daemon.bench.jobs")
    await provision(desired(load(variables)))
    environment = Environment(database_url, project, pubsub)
    async with WorkerProcess(variables, tmp_path), WorkerProcess(variables, tmp_path):
        with psycopg.connect(database_url, autocommit=True) as watcher:
            with psycopg.connect(database_url, application_name="report") as rival:
                publish(environment, "nap", JOBS, params={"seconds": 1.0})  # some run, and end, while the lock is held
                await until(lambda: _number(watcher, "SELECT count(*) FROM job WHERE worker_id IS NOT NULL"), within=30)
                rival.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
                publish(environment, "noop", JOBS)
                most = await _most_backends(watcher, LOCKED_SECONDS)
            assert WORKERS <= most <= WORKERS * MOST_A_WORKER

            def complete() -> bool:
                done = _number(watcher, "SELECT coalesce(sum(completed), 0) FROM orchestration WHERE errored = 0")
                return done == 2 * JOBS

            await until(complete, within=90, what="every job completed")
            assert _number(watcher, "SELECT count(*) FROM job WHERE attempt > 1") == 0
