"""The storm over a bad network: links to Postgres are cut anywhere, and what dead clients sent arrives up to 20 s late.

Orchestrations are cancelled and retried meanwhile, workers killed, stopped and drained. Run in full by
`python -m tests.chaos`, in its short form by the system tests.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import psutil

from tests.chaos.crew import Crew
from tests.chaos.faulty_proxy import FaultPlan
from tests.chaos.judge import judge_attempts, judge_generations, judge_invariants, judge_rows, silences
from tests.chaos.load import Load
from tests.chaos.monkey import Mischief, Monkey
from tests.chaos.operators import Operators
from tests.chaos.report import Report
from tests.chaos.stage import Stage
from tests.chaos.witness import Witness
from tests.harness.waiting import until

# Those that hear of no cancel run on for long enough to be retried meanwhile.
NAPS = {"nap": 0.5, "doze": 0.5, "deaf": 5.0, "swallow": 5.0, "falter": 0.2}
LAST_DUPLICATES = 1.0
# A worker that can't renew its heartbeat is blind from then on; it notices that it was declared dead this much later.
NOTICED_SECONDS = 10.0
DEAD_BY_DELAYS = 3


@dataclass(frozen=True, slots=True)
class DelayedStorm:
    """How much of it; all times in seconds. `cancels` orchestrations are cancelled within `hesitation`."""

    workers: int = 4
    orchestrations: int = 500
    size: int = 10
    slots: int = 20
    spread: float = 100.0
    cancels: int = 170
    hesitation: float = 3.0
    worker_ttl: float = 30.0
    lease: float = 60.0
    patience: float = 240.0
    sweep: float = 60.0
    mischief: Mischief = field(
        default_factory=lambda: Mischief(kill_every=7.0, kills=16, drain_every=15.0, drains=7, stop_at=25, stop=40.0)
    )
    faults: FaultPlan = field(default_factory=lambda: FaultPlan(seed=11))
    seed: int = 11

    @property
    def jobs(self) -> int:
        return self.orchestrations * self.size


async def delayed_storm(plan: DelayedStorm, name: str) -> Report:
    """Run it and judge it."""
    report = Report(name)
    with Stage(hostile=plan.seed, faults=plan.faults) as stage:
        await stage.provision()
        settings = {
            "slots": plan.slots,
            "worker_ttl_seconds": plan.worker_ttl,
            "lease_seconds": plan.lease,
            "sweep_interval_seconds": plan.sweep,
        }
        with Witness(stage.project) as witness:
            async with Crew(stage.environment(**settings), stage.folder, plan.workers) as crew:
                load = await _through(report, stage, crew, plan)
                generations = "SELECT sum(generation) FROM orchestration"
                await until(
                    lambda: sum(map(len, witness.event_ids().values())) >= stage.number(generations),
                    within=60,
                    what="all events came",
                )
                await asyncio.sleep(LAST_DUPLICATES)
                home = await crew.go_home()
                report.within("slowest exit after SIGTERM", max(seconds for _, seconds in home), 9.0)
                report.is_exactly("exit codes after SIGTERM", " ".join(sorted({str(code) for code, _ in home})), "0")
                await _judge(report, stage, crew, plan)
            judge_generations(report, stage, witness, load.made)
        judge_rows(report, stage, plan.jobs, plan.orchestrations)
        errored = "SELECT count(*) FROM job WHERE status <> 'Completed'"
        report.is_exactly("jobs that the last retry left failed", stage.number(errored), 0)
        await judge_invariants(report, stage, plan.worker_ttl)
    return report


async def _through(report: Report, stage: Stage, crew: Crew, plan: DelayedStorm) -> Load:
    """All of it, from the first kick-off until everything is complete and no packet is on its way any more."""
    load = Load(stage, plan.orchestrations, plan.size, seconds=plan.spread, seed=plan.seed, naps=NAPS)
    cancels = frozenset(random.Random(plan.seed).sample(range(plan.orchestrations), plan.cancels))
    operators = Operators(stage, load.made, cancels, hesitation=plan.hesitation, seed=plan.seed)
    monkey = Monkey(stage, crew, plan.mischief, plan.seed, withhold=lambda pid: _withhold(stage, pid))
    began = time.monotonic()
    stage.faulty_proxy.begin()

    async def stages() -> None:
        await load.run()
        report.note("seconds until all was kicked off", time.monotonic() - began)
        await until(monkey.finished.is_set, within=plan.patience, what="the planned harm is done")
        stage.faulty_proxy.stop()
        report.note("seconds until the network was well again", time.monotonic() - began)
        await until(operators.cancelled_all.is_set, within=plan.patience, what="all cancels are done")
        report.note("seconds until all cancels were done", time.monotonic() - began)
        await until(lambda: not stage.faulty_proxy.late_packets, within=plan.patience, what="no packet is on its way")
        report.note("seconds until no packet was on its way", time.monotonic() - began)
        await until(lambda: _over(stage, plan), within=plan.patience, what="all is Completed")
        report.note("seconds until all was complete", time.monotonic() - began)

    tasks = [asyncio.create_task(one) for one in (stages(), monkey.run(), operators.run())]
    try:
        running = set(tasks)
        while tasks[0] in running:
            ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    report.note("kick-offs repeated", load.repeated)
    for what, count in sorted({**operators.done, **stage.faulty_proxy.faults}.items()):
        report.note(what, count)
    report.note("longest delay of a dead client's packet, s", stage.faulty_proxy.longest_late)
    return load


async def _judge(report: Report, stage: Stage, crew: Crew, plan: DelayedStorm) -> None:
    for kind in ("kill", "stop", "term"):
        report.note(f"blows: {kind}", sum(blow.kind == kind for blow in crew.blows))
    report.none_of("workers that ended by themselves", (f"{one.pid}: {one.code}" for one in crew.accidents()))
    silenced = silences(crew.blows, crew.departures)
    stopped = {blow.pid for blow in crew.blows if blow.kind == "stop"}
    blind = [one for one in crew.declared_dead() if one.pid not in stopped]
    for one in blind:
        silenced.setdefault(one.pid, []).append(one.at - NOTICED_SECONDS)
    report.at_most("workers declared dead because their heartbeats were held up", len(blind), DEAD_BY_DELAYS)
    report.note("jobs that ran again although a cancelled run went on for a second", len(_outlived(stage)))
    judge_attempts(report, stage, stage.entries(), silenced)
    ran = {one.job_id for one in stage.entries() if one.kind == "begin"}
    report.is_exactly("jobs that ran", len(ran), plan.jobs)


def _outlived(stage: Stage) -> set[str]:
    """Jobs with a run that ended a second or more after it was cancelled, and that ran again afterwards."""
    cancelled = {
        (str(job_id), attempt): float(at)
        for job_id, attempt, at in stage.rows(
            "SELECT job_id, attempt, extract(epoch FROM ended_at) FROM failed_attempt WHERE kind = 'Cancelled'"
        )
    }
    entries = stage.entries()
    last = {one.job_id: one.attempt for one in entries if one.kind == "begin"}
    return {
        one.job_id
        for one in entries
        if one.kind == "end" and one.wall > cancelled.get((one.job_id, one.attempt), float("inf")) + 1
        if last[one.job_id] > one.attempt
    }


def _withhold(stage: Stage, pid: int) -> None:
    """What this worker sends to Postgres from now on arrives late, if it dies."""
    proxy = stage.faulty_proxy
    try:
        links = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return
    proxy.withhold({one.laddr.port for one in links if one.raddr and one.raddr.port == proxy.port})


def _over(stage: Stage, plan: DelayedStorm) -> bool:
    done = "SELECT count(*) FROM orchestration WHERE outcome = 'Completed' AND event_published_at IS NOT NULL"
    return stage.number(done) == plan.orchestrations
