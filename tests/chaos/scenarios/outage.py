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

from tests.chaos.checks import check_events, check_invariants, intervals, overlaps, silenced_at
from tests.chaos.event_listener import EventListener
from tests.chaos.report import Report
from tests.chaos.scenarios.recovery import all_begun, jobs_of
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

BACK_LIMIT = 5.0
READY_PATIENCE = 60.0
DRAIN_LIMIT = 90.0
EACH = 6
SHORT_JOBS = 60


@dataclass(slots=True)
class Scene:
    """What a fault has to work with."""

    stack: Stack
    pool: WorkerPool
    listener: EventListener
    made: list[UUID] = field(default_factory=list)
    jobs: int = 0

    async def kick_off(self, seconds: float, count: int) -> list[UUID]:
        """Start naps; the ids of their jobs."""
        async with self.stack.client() as client:
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


async def outage(stack: Stack, fault: Fault, seconds: float, worker_ttl: float = 30.0, **settings: object) -> Report:
    """Let it happen for so long, and check the outcome."""
    report = Report(f"{fault.name} for {seconds:g} s")
    await stack.provision()
    environment = stack.environment(worker_ttl_seconds=worker_ttl, **settings)
    with EventListener(stack.project) as listener:
        async with WorkerPool(environment, stack.folder, 2) as pool:
            scene = Scene(stack, pool, listener)
            through = await scene.kick_off(seconds + 8, EACH)
            inside = await scene.kick_off(min(3.0, seconds / 2) + 2, EACH)
            await all_begun(stack, [*through, *inside])
            ready_before = await _ready(pool)
            await fault.begin(scene)
            went = time.monotonic()
            added = asyncio.create_task(fault.meanwhile(scene))
            refused, dying = await _watch_health(pool, went + seconds)
            returning = time.monotonic()  # a worker may be served before whoever starts the server knows
            await fault.end(scene)
            back = time.monotonic()
            await until(lambda: _all_ready(pool), within=READY_PATIENCE, what="all are ready")  # type: ignore[arg-type,return-value]
            ready_again = time.monotonic() - back
            await added
            await _all_complete(scene)
            complete_again = time.monotonic() - back
            await until(lambda: len(listener.event_ids()) >= len(scene.made), within=30, what="all events came")
            report.is_exactly("workers ready before", ready_before, 2)
            if fault.silences_readiness:
                report.is_exactly("workers that said they were not ready", len(refused), 2)
            report.none_of("workers that asked to be killed", dying)
            report.within("ready again after", ready_again, BACK_LIMIT)
            report.within("all complete after", complete_again, DRAIN_LIMIT)
            report.none_of("workers that ended", (f"{one.pid}: {one.code} {one.log[-300:]}" for one in pool.exits))
            _check_jobs(report, scene, went, returning, pauses_intake=fault.pauses_intake)
        check_events(report, listener, scene.made)
    await check_invariants(report, stack, worker_ttl)
    return report


def _check_jobs(report: Report, scene: Scene, went: float, returning: float, *, pauses_intake: bool) -> None:
    stack = scene.stack
    live = intervals(stack.entries(), silenced_at(scene.pool.interventions, scene.pool.exits))
    report.is_exactly("runs", len(live), scene.jobs)
    report.none_of("two live attempts of one job", overlaps(live))
    if pauses_intake:
        report.none_of("begun while it was away", [one for one in live if went + 3 < one.begin < returning])
    report.is_exactly("jobs Completed", stack.number("SELECT count(*) FROM job WHERE status = 'Completed'"), scene.jobs)
    report.is_exactly("workers declared lost", stack.number("SELECT coalesce(sum(losses), 0) FROM job"), 0)
    report.note("given back by heartbeats after a lost answer", stack.given_back())
    report.is_exactly("repairs by the sweeper", stack.repairs(), 0)


async def _ready(pool: WorkerPool) -> int:
    answers = await asyncio.gather(*(asyncio.to_thread(one.worker.status_of, "/readyz") for one in pool.members))
    return sum(answer == 200 for answer in answers)


async def _all_ready(pool: WorkerPool) -> bool:
    return await _ready(pool) == len(pool.members)


async def _watch_health(pool: WorkerPool, end: float) -> tuple[set[int], set[int]]:
    """Which workers said at some time before `end` that they were not ready, and which that they were not alive.

    The others were mute or said that all was well.
    """
    refused: dict[str, set[int]] = {"/readyz": set(), "/livez": set()}
    while time.monotonic() < end:
        for path, who in refused.items():
            for member in pool.members:
                if await asyncio.to_thread(member.worker.status_of, path) == 503:
                    who.add(member.worker.pid)
        await asyncio.sleep(0.2)
    return refused["/readyz"], refused["/livez"]


async def _all_complete(scene: Scene) -> None:
    question = "SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL"
    await until(
        lambda: scene.stack.number(question) == len(scene.made), within=DRAIN_LIMIT + 60, what="all is complete"
    )
