"""Outages of Pub/Sub: gone with its state kept, and gone with its state lost.

Run by `python -m tests.chaos`; the first in short by the system tests.
"""

from __future__ import annotations

import asyncio
import time

from daemon.service.probes import PULL_GRACE_SECONDS
from tests.chaos.crew import Crew
from tests.chaos.judge import judge_events, judge_invariants
from tests.chaos.report import Report
from tests.chaos.scenarios.outage import SHORT_JOBS, Fault, Scene, outage
from tests.chaos.stage import Stage
from tests.chaos.witness import Witness
from tests.harness.waiting import until

REPUBLISH_SECONDS = 5.0
NOTICE_SECONDS = 3.0


async def gone(seconds: float, worker_ttl: float = 30.0) -> Report:
    """Every call is refused for a while; nothing is forgotten."""

    async def begin(scene: Scene) -> None:
        await asyncio.to_thread(scene.stage.control.go_away)

    async def end(scene: Scene) -> None:
        await asyncio.to_thread(scene.stage.control.come_back)

    async def meanwhile(scene: Scene) -> None:
        await asyncio.sleep(2)
        await scene.kick_off(0.1, SHORT_JOBS)

    with Stage() as stage:
        noticed = seconds > PULL_GRACE_SECONDS + NOTICE_SECONDS
        fault = Fault("Pub/Sub gone, its state kept", begin, end, meanwhile, silences_readiness=noticed)
        return await outage(stage, fault, seconds, worker_ttl)


async def forgotten(*, jobs: int = 200) -> Report:
    """The server comes back empty. Workers end with exit code 2 and start again; the relay brings every row back."""
    report = Report("Pub/Sub gone, its state lost")
    with Stage(republish_after=REPUBLISH_SECONDS) as stage:
        await stage.provision()
        with Witness(stage.project) as witness:
            environment = stage.environment(republish_after_seconds=REPUBLISH_SECONDS, slots=10)
            async with stage.client() as client, Crew(environment, stage.folder, 2) as crew:
                made = [await client.kick_off("nap", [{"seconds": 0.5}] * jobs) for _ in range(2)]
                await until(lambda: len(stage.entries()) > 40, within=30, what="the jobs have begun")
                await asyncio.to_thread(stage.pubsub.crash)
                await asyncio.to_thread(stage.pubsub.start)
                await until(lambda: len(crew.departures) >= 2, within=60, what="the workers have ended")
                first = crew.departures[:2]
                await stage.provision()
                witness.sit_down()
                back = time.monotonic()
                await crew.until_ready()
                report.note("ready again after, s", time.monotonic() - back)
                for one in made:
                    await one.wait(timeout=120)
                report.note("all complete after, s", time.monotonic() - back)
                await until(lambda: len(witness.event_ids()) >= len(made), within=30, what="all events came")
            report.is_exactly("exit codes", " ".join(sorted({str(one.code) for one in first})), "2")
            judge_events(report, witness, [one.id for one in made])
        report.is_exactly("failures and losses", stage.number("SELECT sum(failures + losses) FROM job"), 0)
        report.is_exactly("repairs by the sweeper", stage.repairs(), 0)
        await judge_invariants(report, stage, 30.0)
    return report
