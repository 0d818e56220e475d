"""`cloud_run_job` handlers in real workers and before the doctor: Google's client, a local server of its API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.cloud_run import CloudRunServer, cloud_run_server
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

RENDER = "projects/p/locations/europe-west1/jobs/render"
HANDLERS = f'''
"""A Cloud Run Job as a job."""
from daemon import CloudRunJob, job


@job("render", executor="cloud_run_job", cloud_run_job="{RENDER}", timeout=600)
def render(params: dict) -> CloudRunJob:
    return CloudRunJob("{RENDER}", tasks=params["frames"])
'''


@pytest.fixture
async def cloud_run() -> AsyncIterator[CloudRunServer]:
    async with cloud_run_server() as (server, _):
        server.jobs.add(RENDER)
        yield server


@pytest.fixture
def environment(
    database_url: str, project: str, pubsub: str, cloud_run: CloudRunServer, tmp_path: Path
) -> dict[str, str]:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "__init__.py").write_text(HANDLERS)
    made = worker_environment(database_url, project, pubsub, handlers_path=tmp_path, worker_ttl_seconds=2)
    return {**made, "CLOUD_RUN_EMULATOR_HOST": cloud_run.address}


async def test_an_execution_survives_the_worker_that_started_it_and_completes_the_job(
    environment: dict[str, str], cloud_run: CloudRunServer, tmp_path: Path
) -> None:
    await provision(desired(load(environment)))
    async with Client(load(environment)) as client:
        async with WorkerProcess(environment, tmp_path) as worker:
            orchestration = await client.kick_off("render", [{"frames": 3}])
            (name,) = await until(lambda: list(cloud_run.executions), within=30)
            assert json.loads(cloud_run.variables(name)["JOB_PARAMS"]) == {"frames": 3}
            await until(lambda: "get_execution" in cloud_run.calls, within=30)
            worker.kill()
        followed = cloud_run.calls.count("get_execution")
        async with WorkerProcess(environment, tmp_path):
            await until(lambda: cloud_run.calls.count("get_execution") > followed, within=30)
            cloud_run.finish(name)
            async with asyncio.timeout(60):
                successes, failures = await orchestration.results()
    assert failures is None
    assert successes[0].result == {"execution": name, "log_uri": "https://logs.example/e-1"}
    assert list(cloud_run.executions) == [name]


async def examined(environment: dict[str, str]) -> list[dict[str, str]]:
    """What the doctor says about Cloud Run."""
    words = ("doctor", "--only", "worker", "--json")
    done = await asyncio.to_thread(typed, *words, environment=environment, code=None)
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return [finding for finding in findings if RENDER in finding["what"] or "Cloud Run" in finding["what"]]


async def test_the_doctor_finds_a_declared_cloud_run_job_that_is_missing_or_may_not_be_executed(
    environment: dict[str, str], cloud_run: CloudRunServer
) -> None:
    assert await examined(environment) == []
    cloud_run.permissions.remove("run.jobs.runWithOverrides")
    (finding,) = await examined(environment)
    assert "lacks run.jobs.runWithOverrides" in finding["what"]
    assert "add-iam-policy-binding render --project=p --region=europe-west1" in finding["fix"]
    cloud_run.jobs.clear()
    (finding,) = await examined(environment)
    assert (finding["severity"], "can't be found" in finding["what"]) == ("loses_work", True)
    assert finding["fix"].startswith("gcloud run jobs deploy render --project=p --region=europe-west1")
