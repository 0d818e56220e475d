"""Outages of Pub/Sub: gone with its state kept, and gone with its state lost.

Run by `python -m tests.chaos`; the first in short by the system tests.
"""

from __future__ import annotations

import asyncio
import time

from daemon.service.probes import PULL_GRACE_SECONDS
from tests.chaos.checks import check_events, check_invariants
from tests.chaos.event_listener import EventListener
from tests.chaos.report import Report
from tests.chaos.scenarios.outage import SHORT_JOBS, Fault, Scene, outage
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

REPUBLISH_SECONDS = 5.0
NOTICE_SECONDS = 3.0


async def gone(seconds: float, worker_ttl: float = 30.0) -> Report:
    """Every call is refused for a while; nothing is forgotten."""

    async def begin(scene: Scene) -> None:
        await asyncio.to_thread(scene.stack.control.go_away)

    async def end(scene: Scene) -> None:
        await asyncio.to_thread(scene.stack.control.come_back)

    async def meanwhile(scene: Scene) -> None:
        await asyncio.sleep(2)
        await scene.kick_off(0.1, SHORT_JOBS)

    with Stack() as stack:
        noticed = seconds > PULL_GRACE_SECONDS + NOTICE_SECONDS
        fault = Fault("Pub/Sub gone, its state kept", begin, end, meanwhile, silences_readiness=noticed)
        return await outage(stack, fault, seconds, worker_ttl)


async def forgotten(*, jobs: int = 200) -> Report:
    """The server comes back empty. Workers end with exit code 2 and start again; the relay brings every row back."""
    report = Report("Pub/Sub gone, its state lost")
    with Stack(republish_after=REPUBLISH_SECONDS) as stack:
        await stack.provision()
        with EventListener(stack.project) as listener:
            environment = stack.environment(republish_after_seconds=REPUBLISH_SECONDS, slots=10)
            async with stack.client() as client, WorkerPool(environment, stack.folder, 2) as pool:
                made = [await client.kick_off("nap", [{"seconds": 0.5}] * jobs) for _ in range(2)]
                await until(lambda: len(stack.entries()) > 40, within=30, what="the jobs have begun")
                await asyncio.to_thread(stack.pubsub.crash)
                await asyncio.to_thread(stack.pubsub.start)
                await until(lambda: len(pool.exits) >= 2, within=60, what="the workers have ended")
                first = pool.exits[:2]
                await stack.provision()
                listener.subscribe()
                back = time.monotonic()
                await pool.until_ready()
                report.note("ready again after, s", time.monotonic() - back)
                for one in made:
                    await one.wait(timeout=120)
                report.note("all complete after, s", time.monotonic() - back)
                await until(lambda: len(listener.event_ids()) >= len(made), within=30, what="all events came")
            report.is_exactly("exit codes", " ".join(sorted({str(one.code) for one in first})), "2")
            check_events(report, listener, [one.id for one in made])
        report.is_exactly("failures and losses", stack.number("SELECT sum(failures + losses) FROM job"), 0)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
        await check_invariants(report, stack, 30.0)
    return report
