"""Outages of the database: stopped, stalled, half-open, moved, out of connections, and its answers lost.

Run by `python -m tests.chaos`; some in short by the system tests.
"""

from __future__ import annotations

import asyncio
import shutil
from uuid import uuid4

import psycopg

from daemon.job import JobMessage
from daemon.local.postgres import EmbeddedPostgres
from daemon.pubsub.publisher import Publisher
from daemon.rules.messages import encode, instance_id
from tests.chaos.checks import check_invariants, check_rows, intervals, overlaps, silenced_at
from tests.chaos.load import Load
from tests.chaos.report import Report
from tests.chaos.scenarios.outage import SHORT_JOBS, Fault, Scene, outage
from tests.chaos.stack import POSTGRES, Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

FEW_CONNECTIONS = 20


async def stopped(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """Postgres is shut down and started again."""

    async def begin(scene: Scene) -> None:
        await asyncio.to_thread(scene.stack.postgres._halt)

    async def end(scene: Scene) -> None:
        await asyncio.to_thread(scene.stack.postgres.start)

    with Stack(at=at) as stack:
        return await outage(stack, Fault("Postgres stopped", begin, end, by_messages), seconds, worker_ttl)


async def stalled(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """Links stay open and nothing comes through, in either direction, on old and new ones."""

    async def begin(scene: Scene) -> None:
        scene.stack.proxy.freeze()

    async def end(scene: Scene) -> None:
        scene.stack.proxy.thaw()

    with Stack(proxied=True, at=at) as stack:
        return await outage(stack, Fault("Postgres does not answer", begin, end, by_messages), seconds, worker_ttl)


async def half_open(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """The links that were open never carry anything again and are never closed; new ones work after a while."""

    async def begin(scene: Scene) -> None:
        scene.stack.proxy.strand()
        scene.stack.proxy.freeze()

    async def end(scene: Scene) -> None:
        scene.stack.proxy.thaw()

    with Stack(proxied=True, at=at) as stack:
        return await outage(stack, Fault("links to Postgres half-open", begin, end, by_messages), seconds, worker_ttl)


async def moved(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """The server is gone and its data are served from another address, behind the same name."""

    async def begin(scene: Scene) -> None:
        await asyncio.to_thread(scene.stack.postgres._halt)

    async def end(scene: Scene) -> None:
        old = scene.stack.postgres
        folder = old.folder.parent / f"{old.folder.name}-elsewhere"
        old.stop()
        await asyncio.to_thread(shutil.copytree, old.folder, folder, ignore=shutil.ignore_patterns("socket", ".s.*"))
        for path in (folder, *folder.rglob("*")):
            old.account.own(path)
        new = EmbeddedPostgres(folder, settings=POSTGRES, tcp_port=0)
        await asyncio.to_thread(new.start)
        assert new.tcp_port is not None
        scene.stack.take_over(new)
        scene.stack.proxy.point_at(new.tcp_port)

    with Stack(proxied=True, at=at) as stack:
        return await outage(
            stack, Fault("Postgres moved to a new address", begin, end, by_messages), seconds, worker_ttl
        )


async def crowded(seconds: float, worker_ttl: float = 30.0) -> Report:
    """Another client takes every connection that Postgres has."""
    busy_cores: list[psycopg.Connection] = []
    calm = asyncio.Event()

    async def begin(scene: Scene) -> None:
        url = scene.stack.database_url
        busy_cores.append(await asyncio.to_thread(psycopg.connect, url, autocommit=True))
        await asyncio.to_thread(_push_out, busy_cores, url)

    async def end(_scene: Scene) -> None:
        calm.set()
        for one in busy_cores:
            one.close()

    with Stack(postgres={"max_connections": FEW_CONNECTIONS}) as stack:
        fault = Fault("Postgres out of connections", begin, end, by_messages)
        return await outage(stack, fault, seconds, worker_ttl)


async def answers_lost(*, jobs: int = 1500, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """Statements take effect and their answers never arrive: commits of claims and settlements above all."""
    report = Report("answers of Postgres lost, links cut after the commit")
    with Stack(proxied=True, at=at) as stack:
        await stack.provision()
        async with WorkerPool(stack.environment(worker_ttl_seconds=worker_ttl), stack.folder, 2) as pool:
            load = Load(stack, jobs // 50, 50, seconds=15.0, nap=0.2, seed=3)
            loading = asyncio.create_task(load.run())
            lost = 0
            while not loading.done():
                stack.proxy.lose_answers(2)
                lost += 2
                await asyncio.sleep(0.5)
            stack.proxy.lose_answers(0)
            await loading
            done = "SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL"
            await until(lambda: stack.number(done) == len(load.made), within=120, what="all is complete")
            live = intervals(stack.entries(), silenced_at(pool.interventions, pool.exits))
            report.note("answers lost", lost)
            report.is_exactly("runs", len(live), load.jobs)
            report.none_of("two live attempts of one job", overlaps(live))
            report.none_of("workers that ended", (f"{one.pid}: {one.code}" for one in pool.exits))
            check_rows(report, stack, load.jobs, len(load.made))
        await check_invariants(report, stack, worker_ttl)
    return report


async def by_messages(scene: Scene) -> None:
    """Work that arrives while the database is away: messages only."""
    orchestration = uuid4()
    messages = [
        encode(JobMessage("nap", instance_id(orchestration, index), orchestration, index, SHORT_JOBS, "{}"))
        for index in range(SHORT_JOBS)
    ]
    await asyncio.sleep(4)
    publisher = Publisher()
    try:
        await publisher.publish(scene.stack.settings().topic("jobs"), messages)
    finally:
        await publisher.close()
    scene.made.append(orchestration)
    scene.jobs += SHORT_JOBS


def _push_out(busy_cores: list[psycopg.Connection], url: str) -> None:
    """Take what is free, cut the workers off, and take their places as well."""
    while len(busy_cores) < FEW_CONNECTIONS:
        try:
            busy_cores.append(psycopg.connect(url, autocommit=True))
        except psycopg.OperationalError:
            busy_cores[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headcount'"
            )
