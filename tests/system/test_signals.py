"""A job that rests and waits for a person, with a real worker and the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.postgres.database import async_engine
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.postgres.scene import Scene
from tests.system.commands import asked, typed

JOBS, REST = 400, 12.0


@pytest.mark.long
async def test_a_job_rests_then_waits_for_a_signal_and_goes_on(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    environment = worker_environment(database_url, project, pubsub, handlers="tests.system.step_jobs")
    await provision(desired(load(environment)))
    engine = async_engine(database_url, 2)
    scene = Scene(engine, database_url)
    async with Client(load(environment)) as client, WorkerProcess(environment, tmp_path):
        made = await client.kick_off("approve", [{"rest": 5.5}])
        job_id = await scene.value("id FROM job")

        async def suspended(times: int) -> bool:
            return bool(await scene.value("suspensions FROM job") == times)

        async def verdict() -> str:
            shown = await asyncio.to_thread(asked, "explain", str(job_id), "--json", environment=environment)
            return str(shown["verdict"]["verdict"])

        await until(lambda: suspended(1), within=30)
        assert await verdict() == "SLEEPING"
        assert await scene.value("worker_id FROM job") is None
        await until(lambda: suspended(2), within=30)
        assert await verdict() == "WAITING_SIGNAL"
        words = ("signal", str(job_id), "approved", "--payload", '{"by": "eve"}')
        await asyncio.to_thread(typed, *words, environment=environment)
        async with asyncio.timeout(30):
            await made.wait()
        (outcome,) = await client.outcomes(made.id)
        assert outcome.result == '{"began":1,"ended":3,"by":"eve"}'
        assert await scene.value("suspensions FROM job") == 2
        late = await asyncio.to_thread(typed, *words, environment=environment, code=1)
        assert "has ended" in late.stderr
        wrong = await asyncio.to_thread(typed, *words[:3], "--payload", "{", environment=environment, code=2)
        assert "JSON" in wrong.stderr
    await engine.dispose()


@pytest.mark.long
async def test_jobs_that_sleep_take_no_slot_and_all_of_them_go_on_in_time(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    environment = worker_environment(database_url, project, pubsub, handlers="tests.system.step_jobs", slots=4)
    await provision(desired(load(environment)))
    engine = async_engine(database_url, 2)
    scene = Scene(engine, database_url)
    async with Client(load(environment)) as client, WorkerProcess(environment, tmp_path):
        made = await client.kick_off("doze", [{"rest": REST}] * JOBS)

        async def all_sleep() -> bool:
            return bool(await scene.value("sum(suspensions) FROM job") == JOBS)

        await until(all_sleep, within=60)
        assert await scene.value("count(*) FROM job WHERE worker_id IS NOT NULL AND finish_number IS NULL") == 0
        other = await client.kick_off("doze", [{"rest": 0.0}])
        async with asyncio.timeout(10):
            await other.wait()
        async with asyncio.timeout(REST + 30):
            await made.wait()
    assert await scene.value("max(attempt) FROM job WHERE orchestration_id = :id", id=made.id) == 2
    await engine.dispose()
