"""A worker's pool: in its metrics, in `headcount workers`; and what an idle worker says of a database that is away."""

import re
from pathlib import Path

import psycopg

from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess
from tests.system.commands import asked, typed


def unavailable(worker: WorkerProcess) -> dict[str, float]:
    """What the worker says of the database, by lane."""
    series = re.compile(r'^headcount_database_unavailable\{operation="(\w+)",pool="(?:\w+)"\} (\S+)$', re.M)
    return {lane: float(value) for lane, value in series.findall(worker.body_of("/metrics"))}


def let_in(url: str, yes: bool) -> None:
    """Open the worker's database to new connections, or close it and end those that there are."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    name = str(parts["dbname"])
    with psycopg.connect(psycopg.conninfo.make_conninfo(url, dbname="postgres"), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {"true" if yes else "false"}'.encode())
        if not yes:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


async def test_a_worker_says_in_its_metrics_and_in_the_list_of_workers_which_pool_it_is_of(
    provisioned: dict[str, str], tmp_path: Path
) -> None:
    environment = {**provisioned, "HEADCOUNT_POOL": "gpu"}
    async with WorkerProcess(environment, tmp_path) as worker:
        assert [row["pool"] for row in asked("workers", "--json", environment=environment)] == ["gpu"]
        assert "gpu" in typed("workers", environment=environment).stdout
        own = [line for line in worker.body_of("/metrics").splitlines() if line.startswith("headcount_")]
        assert len(own) > 50
        assert [line for line in own if 'pool="gpu"' not in line] == []


async def test_an_idle_worker_says_that_the_database_is_unavailable_while_it_is_and_no_longer(
    provisioned: dict[str, str], tmp_path: Path
) -> None:
    url = provisioned["HEADCOUNT_DATABASE_URL"]
    environment = {**provisioned, "HEADCOUNT_WORKER_TTL_SECONDS": "6"}  # a heartbeat a second
    async with WorkerProcess(environment, tmp_path) as worker:
        assert set(unavailable(worker).values()) == {0.0}
        let_in(url, False)
        try:
            await until(lambda: unavailable(worker)["heartbeat"] == 1, within=15, what="the heartbeat says so")
            await until(lambda: unavailable(worker)["backlog"] == 1, within=30, what="the backlog's count says so")
        finally:
            let_in(url, True)
        await until(lambda: set(unavailable(worker).values()) == {0.0}, within=20, what="it is available again")
