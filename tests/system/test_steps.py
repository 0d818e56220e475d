"""Durable steps through crashes and deploys, with real workers."""

from __future__ import annotations

import asyncio
import random
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.job import Kind, Status
from daemon.postgres.database import async_engine
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.postgres.scene import Scene

STEPS, KILLS, TTL = 200, 20, 120.0


async def lose(scene: Scene, worker: WorkerProcess) -> None:
    """Kill a worker, let its heartbeat be old, and let another one rescue its job."""
    worker.kill()
    await scene.run("UPDATE worker SET seen_at = now() - interval '1 hour'")
    (rescued,) = await (await scene.worker()).rescue(ttl=TTL)
    assert (rescued.freed, rescued.errored) == (1, 0)
    await scene.run("DELETE FROM worker")


@pytest.mark.long
async def test_two_hundred_steps_survive_twenty_kills_at_random_points(
    database_url: str, project: str, pubsub: str, tmp_path: Path
) -> None:
    environment = worker_environment(
        database_url, project, pubsub, handlers="tests.system.step_jobs", worker_ttl_seconds=TTL
    )
    await provision(desired(load(environment)))
    engine, log, rng = async_engine(database_url, 4), tmp_path / "calls", random.Random(7)
    scene = Scene(engine, database_url)
    await scene.run("CREATE TABLE payment (name text)")
    log.touch()

    def calls() -> list[str]:
        return log.read_text().splitlines()

    async with Client(load(environment)) as client:
        made = await client.kick_off("journey", [{"steps": STEPS, "log": str(log)}])
        for kill in range(1, KILLS + 1):
            async with WorkerProcess(environment, tmp_path) as worker:
                # From the second call on a step is recorded: three losses without one would end the job.
                point = len(calls()) + rng.randrange(2, 6)
                await until(lambda at=point: len(calls()) >= at, within=60)  # type: ignore[misc]
                await lose(scene, worker)
                assert (await scene.value("max(attempt) FROM job")) == kill
        async with WorkerProcess(environment, tmp_path), asyncio.timeout(60):
            await made.wait()
        (outcome,) = await client.outcomes(made.id)

    assert outcome.status is Status.COMPLETED, outcome.error
    row = await scene.job(outcome.job_id)
    assert (row["attempt"], row["losses"], row["failures"]) == (KILLS + 1, KILLS, 0)
    assert [kind for _, kind in await scene.history(outcome.job_id)] == ["WorkerLost"] * KILLS
    steps = await scene.run("SELECT name, number, attempt, kind FROM durable_step ORDER BY number")
    assert [step["name"] for step in steps] == [f"step-{number}" for number in range(STEPS)]
    recorded = {step["name"]: step["attempt"] for step in steps}
    runs = [(name, int(attempt)) for name, attempt in (line.split() for line in calls())]
    again = [(name, attempt) for name, attempt in runs if attempt > recorded[name]]
    assert again == [], "a recorded step ran again"
    assert Counter(name for name, attempt in runs if attempt == recorded[name]) == dict.fromkeys(recorded, 1)
    assert len(runs) - STEPS <= KILLS, "only the one in flight at a crash may run twice"
    payments = Counter(row["name"] for row in await scene.run("SELECT name FROM payment"))
    assert payments == {f"step-{number}": 1 for number in range(1, STEPS, 2)}
    await engine.dispose()


ORDER = """
    import asyncio
    from daemon import JobContext, job

    @job("order")
    async def order(params: dict[str, str], ctx: JobContext) -> list[object]:
        results = []
        for name in {names}:
            results.append(await ctx.step(name, lambda: "{revision}"))
        while {blocks} and not ctx.should_stop:
            await asyncio.sleep(0.01)
        ctx.stop_point()
        return results
"""


def deploy(folder: Path, revision: str, *names: str, blocks: bool = False) -> None:
    """A revision of the handler with these steps; one that `blocks` waits for the end of its worker after them."""
    source = textwrap.dedent(ORDER).format(names=list(names), revision=revision, blocks=blocks)
    (folder / "orders.py").write_text(source)


@pytest.mark.long
@pytest.mark.parametrize("change", ["append", "rename"])
async def test_a_deploy_changes_the_steps_of_a_job_that_is_under_way(
    database_url: str, project: str, pubsub: str, tmp_path: Path, change: str
) -> None:
    environment = worker_environment(
        database_url, project, pubsub, handlers="orders", handlers_path=tmp_path, drain_seconds=1
    )
    await provision(desired(load(environment)))
    engine = async_engine(database_url, 2)
    scene = Scene(engine, database_url)
    deploy(tmp_path, "old", "charge", "ship", blocks=True)

    async def recorded() -> bool:
        return bool(await scene.value("count(*) FROM durable_step") == 2)

    async with Client(load(environment)) as client:
        made = await client.kick_off("order", [{}])
        async with WorkerProcess(environment, tmp_path) as worker:
            await until(recorded, within=30)
            worker.terminate()
            await worker.until_exit()
        deploy(tmp_path, "new", *(("charge", "ship", "thank") if change == "append" else ("bill", "ship")))
        async with WorkerProcess(environment, tmp_path), asyncio.timeout(60):
            await made.wait()
        (outcome,) = await client.outcomes(made.id)
    await engine.dispose()
    if change == "append":
        assert outcome.result == '["old","old","new"]'
    else:
        assert outcome.error is not None
        assert outcome.error.kind is Kind.STEPS_CHANGED
        assert "step 'bill' is number 1, where 'charge' is recorded" in outcome.error.message
