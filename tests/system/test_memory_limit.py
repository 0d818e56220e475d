"""A real worker at its memory limit: one process ends, its job runs again alone, the others go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from daemon.client import Client
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

HANDLERS = '''
"""One that takes memory until a file tells it to end."""
import time
from pathlib import Path

from daemon import job


@job("hold", executor="process", max_attempts=1)
def hold(params: dict) -> int:
    held = b"x" * (params["mib"] * 2**20)
    while not Path(params["until"]).exists():
        time.sleep(0.05)
    return len(held)
'''
LIMIT_MIB = 600


async def test_a_job_whose_process_was_ended_runs_again_alone_and_one_too_large_for_that_fails(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "__init__.py").write_text(HANDLERS)
    end = tmp_path / "end"
    environment = worker_environment(
        database_url, project, pubsub, handlers_path=tmp_path, process_slots=2, memory_limit_mib=LIMIT_MIB
    )
    await provision(desired(load(environment)))
    async with Client(load(environment)) as client, WorkerProcess(environment, tmp_path) as worker:
        jobs = [{"mib": 210, "until": str(end)}, {"mib": 230, "until": str(end)}]
        orchestration = await client.kick_off("hold", jobs)
        await worker.until_logged("Evicted", within=30)
        end.touch()
        async with asyncio.timeout(60):
            successes, failures = await orchestration.results()
        assert failures is None
        assert [one.result for one in successes] == [210 * 2**20, 230 * 2**20]
        told = [
            await asyncio.to_thread(typed, "explain", str(one.job_id), environment=environment) for one in successes
        ]
        assert sum("Evicted: ended to free memory, to run again alone" in one.stdout for one in told) == 1
        end.unlink()
        too_large = await client.kick_off("hold", [{"mib": 600, "until": str(end)}])
        async with asyncio.timeout(60):
            _, failures = await too_large.results()
        assert failures is not None
        assert failures[0].error.kind == "OutOfMemory"
        assert "although it ran alone" in failures[0].error.message
        metrics = worker.body_of("/metrics")
    assert 'headcount_attempt_failures_total{job_name="hold",kind="Evicted"' in metrics
    assert 'headcount_memory_limit_bytes{pool="default"} 6.291456e+08' in metrics
