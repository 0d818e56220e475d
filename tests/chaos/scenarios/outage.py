"""The frame of every outage: jobs before, during and after it, and what is asked of the workers meanwhile.

Filled by `database` and `bus`. Running handlers must go on, intake must pause, outcomes must be kept, readiness must
say so, and all must be well again soon after the return, by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.chaos.crew import Crew
from tests.chaos.judge import intervals, judge_events, judge_invariants, overlaps, silences
from tests.chaos.report import Report
from tests.chaos.scenarios.recovery import all_begun, jobs_of
from tests.chaos.stage import Stage
from tests.chaos.witness import Witness
from tests.harness.waiting import until

BACK_LIMIT = 5.0
READY_PATIENCE = 60.0
DRAIN_LIMIT = 90.0
EACH = 6
SHORT_JOBS = 60


@dataclass(slots=True)
class Scene:
    """What a fault has to work with."""

    stage: Stage
    crew: Crew
    witness: Witness
    made: list[UUID] = field(default_factory=list)
    jobs: int = 0

    async def kick_off(self, seconds: float, count: int) -> list[UUID]:
        """Start naps; the ids of their jobs."""
        async with self.stage.client() as client:
            made = await client.kick_off("nap", [{"seconds": seconds}] * count)
        self.made.append(made.id)
        self.jobs += count
        return jobs_of(made.id, count)


Step = Callable[[Scene], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of outage. `begin` starts it, `meanwhile` adds work, `end` returns as soon as the part is back."""

    name: str
    begin: Step
    end: Step
    meanwhile: Step
    silences_readiness: bool = True
    pauses_intake: bool = True


async def outage(stage: Stage, fault: Fault, seconds: float, worker_ttl: float = 30.0, **settings: object) -> Report:
    """Let it happen for so long, and judge."""
    report = Report(f"{fault.name} for {seconds:g} s")
    await stage.provision()
    environment = stage.environment(worker_ttl_seconds=worker_ttl, **settings)
    with Witness(stage.project) as witness:
        async with Crew(environment, stage.folder, 2) as crew:
            scene = Scene(stage, crew, witness)
            through = await scene.kick_off(seconds + 8, EACH)
            inside = await scene.kick_off(min(3.0, seconds / 2) + 2, EACH)
            await all_begun(stage, [*through, *inside])
            ready_before = await _ready(crew)
            await fault.begin(scene)
            went = time.monotonic()
            added = asyncio.create_task(fault.meanwhile(scene))
            refused, dying = await _watch_health(crew, went + seconds)
            returning = time.monotonic()  # a worker may be served before whoever starts the server knows
            await fault.end(scene)
            back = time.monotonic()
            await until(lambda: _all_ready(crew), within=READY_PATIENCE, what="all are ready")  # type: ignore[arg-type,return-value]
            ready_again = time.monotonic() - back
            await added
            await _all_complete(scene)
            complete_again = time.monotonic() - back
            await until(lambda: len(witness.event_ids()) >= len(scene.made), within=30, what="all events came")
            report.is_exactly("workers ready before", ready_before, 2)
            if fault.silences_readiness:
                report.is_exactly("workers that said they were not ready", len(refused), 2)
            report.none_of("workers that asked to be killed", dying)
            report.within("ready again after", ready_again, BACK_LIMIT)
            report.within("all complete after", complete_again, DRAIN_LIMIT)
            report.none_of("workers that ended", (f"{one.pid}: {one.code} {one.log[-300:]}" for one in crew.departures))
            _judge_jobs(report, scene, went, returning, pauses_intake=fault.pauses_intake)
        judge_events(report, witness, scene.made)
    await judge_invariants(report, stage, worker_ttl)
    return report


def _judge_jobs(report: Report, scene: Scene, went: float, returning: float, *, pauses_intake: bool) -> None:
    stage = scene.stage
    live = intervals(stage.entries(), silences(scene.crew.blows, scene.crew.departures))
    report.is_exactly("runs", len(live), scene.jobs)
    report.none_of("two live attempts of one job", overlaps(live))
    if pauses_intake:
        report.none_of("begun while it was away", [one for one in live if went + 3 < one.begin < returning])
    report.is_exactly("jobs Completed", stage.number("SELECT count(*) FROM job WHERE status = 'Completed'"), scene.jobs)
    report.is_exactly("workers declared lost", stage.number("SELECT coalesce(sum(losses), 0) FROM job"), 0)
    report.note("given back by heartbeats after a lost answer", stage.given_back())
    report.is_exactly("repairs by the sweeper", stage.repairs(), 0)


async def _ready(crew: Crew) -> int:
    answers = await asyncio.gather(*(asyncio.to_thread(one.worker.status_of, "/readyz") for one in crew.members))
    return sum(answer == 200 for answer in answers)


async def _all_ready(crew: Crew) -> bool:
    return await _ready(crew) == len(crew.members)


async def _watch_health(crew: Crew, end: float) -> tuple[set[int], set[int]]:
    """Which workers said at some time before `end` that they were not ready, and which that they were not alive.

    The others were mute or said that all was well.
    """
    refused: dict[str, set[int]] = {"/readyz": set(), "/livez": set()}
    while time.monotonic() < end:
        for path, who in refused.items():
            for member in crew.members:
                if await asyncio.to_thread(member.worker.status_of, path) == 503:
                    who.add(member.worker.pid)
        await asyncio.sleep(0.2)
    return refused["/readyz"], refused["/livez"]


async def _all_complete(scene: Scene) -> None:
    question = "SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL"
    await until(
        lambda: scene.stage.number(question) == len(scene.made), within=DRAIN_LIMIT + 60, what="all is complete"
    )
