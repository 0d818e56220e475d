"""PgBouncer in transaction mode, and how many connections a worker takes with it and without."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from daemon.bench.load import publish
from daemon.bench.stack import Environment
from daemon.local.child import end_with_owner
from daemon.local.postgres import EmbeddedPostgres
from daemon.postgres.migrations import upgrade
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.needs import needs
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, free_port, worker_environment

JOBS = 500
MOST_CONNECTIONS = 4
OWN = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND pid <> pg_backend_pid()"
)
INI = """
[databases]
headcount = host=127.0.0.1 port={port} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
"""


@pytest.fixture
def bouncer(own_postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[str]:
    """The URL of a PgBouncer that pools by transaction, with four connections to Postgres."""
    program = needs("pgbouncer")
    own = free_port()
    settings = tmp_path / "pgbouncer.ini"
    settings.write_text(INI.format(port=own_postgres.tcp_port, own=own, size=MOST_CONNECTIONS))
    for folder in (settings, *settings.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    as_nobody = ["-u", "nobody"] if os.getuid() == 0 else []
    with (tmp_path / "pgbouncer.log").open("wb") as log:
        child = subprocess.Popen(
            [program, *as_nobody, settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=end_with_owner(signal.SIGKILL),
        )
    yield f"postgresql://postgres@127.0.0.1:{own}/headcount"
    child.kill()
    child.wait()


async def _work(bench: Environment, direct: str, environment: dict[str, str], folder: Path) -> int:
    """Run a worker until JOBS jobs are done; the most connections to Postgres that were seen meanwhile."""
    most = 0
    async with WorkerProcess(environment, folder) as worker:
        publish(bench, "noop", JOBS, per_orchestration=JOBS)
        with psycopg.connect(direct, autocommit=True) as connection:

            def done() -> bool:
                nonlocal most
                seen = connection.execute(OWN).fetchone()
                assert seen is not None
                most = max(most, seen[0])
                row = connection.execute("SELECT completed, event_published_at FROM orchestration").fetchone()
                return row is not None and row[0] == JOBS and row[1] is not None

            await until(done, within=60, what="all jobs are completed and their event is published")
        worker.terminate()
        await worker.until_exit(code=0)
        assert not [one for one in worker.log_records() if one.get("severity") in ("WARNING", "ERROR")], worker.log
    return most


async def test_a_worker_does_all_its_work_through_pgbouncer_in_transaction_mode(
    own_postgres: EmbeddedPostgres, bouncer: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    direct = own_postgres.url(tcp_port=own_postgres.tcp_port)
    upgrade(direct)
    environment = worker_environment(
        bouncer, project, pubsub, handlers="daemon.bench.jobs", database_pooler="transaction"
    )
    await provision(desired(load(environment)))
    assert await _work(Environment(direct, project, pubsub), direct, environment, tmp_path) <= MOST_CONNECTIONS


async def test_a_worker_takes_at_most_four_connections(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    environment = worker_environment(database_url, project, pubsub, handlers="daemon.bench.jobs")
    await provision(desired(load(environment)))
    most = await _work(Environment(database_url, project, pubsub), database_url, environment, tmp_path)
    assert 2 <= most <= MOST_CONNECTIONS
