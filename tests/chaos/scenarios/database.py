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
from tests.chaos.crew import Crew
from tests.chaos.judge import intervals, judge_invariants, judge_rows, overlaps, silences
from tests.chaos.load import Load
from tests.chaos.report import Report
from tests.chaos.scenarios.outage import SHORT_JOBS, Fault, Scene, outage
from tests.chaos.stage import POSTGRES, Stage
from tests.harness.waiting import until

FEW_CONNECTIONS = 20


async def stopped(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """Postgres is shut down and started again."""

    async def begin(scene: Scene) -> None:
        await asyncio.to_thread(scene.stage.postgres._halt)

    async def end(scene: Scene) -> None:
        await asyncio.to_thread(scene.stage.postgres.start)

    with Stage(at=at) as stage:
        return await outage(stage, Fault("Postgres stopped", begin, end, by_messages), seconds, worker_ttl)


async def stalled(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """Links stay open and nothing comes through, in either direction, on old and new ones."""

    async def begin(scene: Scene) -> None:
        scene.stage.proxy.freeze()

    async def end(scene: Scene) -> None:
        scene.stage.proxy.thaw()

    with Stage(proxied=True, at=at) as stage:
        return await outage(stage, Fault("Postgres does not answer", begin, end, by_messages), seconds, worker_ttl)


async def half_open(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """The links that were open never carry anything again and are never closed; new ones work after a while."""

    async def begin(scene: Scene) -> None:
        scene.stage.proxy.strand()
        scene.stage.proxy.freeze()

    async def end(scene: Scene) -> None:
        scene.stage.proxy.thaw()

    with Stage(proxied=True, at=at) as stage:
        return await outage(stage, Fault("links to Postgres half-open", begin, end, by_messages), seconds, worker_ttl)


async def moved(seconds: float, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """The server is gone and its data are served from another address, behind the same name."""

    async def begin(scene: Scene) -> None:
        await asyncio.to_thread(scene.stage.postgres._halt)

    async def end(scene: Scene) -> None:
        old = scene.stage.postgres
        folder = old.folder.parent / f"{old.folder.name}-elsewhere"
        old.stop()
        await asyncio.to_thread(shutil.copytree, old.folder, folder, ignore=shutil.ignore_patterns("socket", ".s.*"))
        for path in (folder, *folder.rglob("*")):
            old.account.own(path)
        new = EmbeddedPostgres(folder, settings=POSTGRES, tcp_port=0)
        await asyncio.to_thread(new.start)
        assert new.tcp_port is not None
        scene.stage.take_over(new)
        scene.stage.proxy.point_at(new.tcp_port)

    with Stage(proxied=True, at=at) as stage:
        return await outage(
            stage, Fault("Postgres moved to a new address", begin, end, by_messages), seconds, worker_ttl
        )


async def crowded(seconds: float, worker_ttl: float = 30.0) -> Report:
    """Another client takes every connection that Postgres has."""
    hogs: list[psycopg.Connection] = []
    calm = asyncio.Event()

    async def begin(scene: Scene) -> None:
        url = scene.stage.database_url
        hogs.append(await asyncio.to_thread(psycopg.connect, url, autocommit=True))
        await asyncio.to_thread(_push_out, hogs, url)

    async def end(_scene: Scene) -> None:
        calm.set()
        for one in hogs:
            one.close()

    with Stage(postgres={"max_connections": FEW_CONNECTIONS}) as stage:
        fault = Fault("Postgres out of connections", begin, end, by_messages)
        return await outage(stage, fault, seconds, worker_ttl)


async def answers_lost(*, jobs: int = 1500, worker_ttl: float = 30.0, at: str | None = None) -> Report:
    """Statements take effect and their answers never arrive: commits of claims and settlements above all."""
    report = Report("answers of Postgres lost, links cut after the commit")
    with Stage(proxied=True, at=at) as stage:
        await stage.provision()
        async with Crew(stage.environment(worker_ttl_seconds=worker_ttl), stage.folder, 2) as crew:
            load = Load(stage, jobs // 50, 50, seconds=15.0, nap=0.2, seed=3)
            loading = asyncio.create_task(load.run())
            lost = 0
            while not loading.done():
                stage.proxy.lose_answers(2)
                lost += 2
                await asyncio.sleep(0.5)
            stage.proxy.lose_answers(0)
            await loading
            done = "SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL"
            await until(lambda: stage.number(done) == len(load.made), within=120, what="all is complete")
            live = intervals(stage.entries(), silences(crew.blows, crew.departures))
            report.note("answers lost", lost)
            report.is_exactly("runs", len(live), load.jobs)
            report.none_of("two live attempts of one job", overlaps(live))
            report.none_of("workers that ended", (f"{one.pid}: {one.code}" for one in crew.departures))
            judge_rows(report, stage, load.jobs, len(load.made))
        await judge_invariants(report, stage, worker_ttl)
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
        await publisher.publish(scene.stage.settings().topic("jobs"), messages)
    finally:
        await publisher.close()
    scene.made.append(orchestration)
    scene.jobs += SHORT_JOBS


def _push_out(hogs: list[psycopg.Connection], url: str) -> None:
    """Take what is free, cut the workers off, and take their places as well."""
    while len(hogs) < FEW_CONNECTIONS:
        try:
            hogs.append(psycopg.connect(url, autocommit=True))
        except psycopg.OperationalError:
            hogs[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headcount'"
            )
