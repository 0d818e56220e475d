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

from tests.chaos.checks import check_attempts, check_generations, check_invariants, check_rows, silenced_at
from tests.chaos.event_listener import EventListener
from tests.chaos.faulty_proxy import FaultPlan
from tests.chaos.load import Load
from tests.chaos.monkey import ChaosPlan, Monkey
from tests.chaos.operators import Operators
from tests.chaos.report import Report
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
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
    chaos: ChaosPlan = field(
        default_factory=lambda: ChaosPlan(kill_every=7.0, kills=16, drain_every=15.0, drains=7, stop_at=25, stop=40.0)
    )
    faults: FaultPlan = field(default_factory=lambda: FaultPlan(seed=11))
    seed: int = 11

    @property
    def jobs(self) -> int:
        return self.orchestrations * self.size


async def delayed_storm(plan: DelayedStorm, name: str) -> Report:
    """Run it and check the outcome."""
    report = Report(name)
    with Stack(hostile=plan.seed, faults=plan.faults) as stack:
        await stack.provision()
        settings = {
            "slots": plan.slots,
            "worker_ttl_seconds": plan.worker_ttl,
            "lease_seconds": plan.lease,
            "sweep_interval_seconds": plan.sweep,
        }
        with EventListener(stack.project) as listener:
            async with WorkerPool(stack.environment(**settings), stack.folder, plan.workers) as pool:
                load = await _through(report, stack, pool, plan)
                generations = "SELECT sum(generation) FROM orchestration"
                await until(
                    lambda: sum(map(len, listener.event_ids().values())) >= stack.number(generations),
                    within=60,
                    what="all events came",
                )
                await asyncio.sleep(LAST_DUPLICATES)
                home = await pool.terminate_all()
                report.within("slowest exit after SIGTERM", max(seconds for _, seconds in home), 9.0)
                report.is_exactly("exit codes after SIGTERM", " ".join(sorted({str(code) for code, _ in home})), "0")
                await _check(report, stack, pool, plan)
            check_generations(report, stack, listener, load.made)
        check_rows(report, stack, plan.jobs, plan.orchestrations)
        errored = "SELECT count(*) FROM job WHERE status <> 'Completed'"
        report.is_exactly("jobs that the last retry left failed", stack.number(errored), 0)
        await check_invariants(report, stack, plan.worker_ttl)
    return report


async def _through(report: Report, stack: Stack, pool: WorkerPool, plan: DelayedStorm) -> Load:
    """All of it, from the first kick-off until everything is complete and no packet is on its way any more."""
    load = Load(stack, plan.orchestrations, plan.size, seconds=plan.spread, seed=plan.seed, naps=NAPS)
    cancels = frozenset(random.Random(plan.seed).sample(range(plan.orchestrations), plan.cancels))
    operators = Operators(stack, load.made, cancels, hesitation=plan.hesitation, seed=plan.seed)
    monkey = Monkey(stack, pool, plan.chaos, plan.seed, withhold=lambda pid: _withhold(stack, pid))
    began = time.monotonic()
    stack.faulty_proxy.begin()

    async def stages() -> None:
        await load.run()
        report.note("seconds until all was kicked off", time.monotonic() - began)
        await until(monkey.finished.is_set, within=plan.patience, what="the planned harm is done")
        stack.faulty_proxy.stop()
        report.note("seconds until the network was well again", time.monotonic() - began)
        await until(operators.cancelled_all.is_set, within=plan.patience, what="all cancels are done")
        report.note("seconds until all cancels were done", time.monotonic() - began)
        await until(lambda: not stack.faulty_proxy.late_packets, within=plan.patience, what="no packet is on its way")
        report.note("seconds until no packet was on its way", time.monotonic() - began)
        await until(lambda: _over(stack, plan), within=plan.patience, what="all is Completed")
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
    for what, count in sorted({**operators.done, **stack.faulty_proxy.faults}.items()):
        report.note(what, count)
    report.note("longest delay of a dead client's packet, s", stack.faulty_proxy.longest_late)
    return load


async def _check(report: Report, stack: Stack, pool: WorkerPool, plan: DelayedStorm) -> None:
    for kind in ("kill", "stop", "term"):
        report.note(f"interventions: {kind}", sum(intervention.kind == kind for intervention in pool.interventions))
    report.none_of("workers that ended by themselves", (f"{one.pid}: {one.code}" for one in pool.unexpected_exits()))
    silenced = silenced_at(pool.interventions, pool.exits)
    stopped = {intervention.pid for intervention in pool.interventions if intervention.kind == "stop"}
    blind = [one for one in pool.declared_dead() if one.pid not in stopped]
    for one in blind:
        silenced.setdefault(one.pid, []).append(one.at - NOTICED_SECONDS)
    report.at_most("workers declared dead because their heartbeats were held up", len(blind), DEAD_BY_DELAYS)
    report.note("jobs that ran again although a cancelled run went on for a second", len(_outlived(stack)))
    check_attempts(report, stack, stack.entries(), silenced)
    ran = {one.job_id for one in stack.entries() if one.kind == "begin"}
    report.is_exactly("jobs that ran", len(ran), plan.jobs)


def _outlived(stack: Stack) -> set[str]:
    """Jobs with a run that ended a second or more after it was cancelled, and that ran again afterwards."""
    cancelled = {
        (str(job_id), attempt): float(at)
        for job_id, attempt, at in stack.rows(
            "SELECT job_id, attempt, extract(epoch FROM ended_at) FROM failed_attempt WHERE kind = 'Cancelled'"
        )
    }
    entries = stack.entries()
    last = {one.job_id: one.attempt for one in entries if one.kind == "begin"}
    return {
        one.job_id
        for one in entries
        if one.kind == "end" and one.wall > cancelled.get((one.job_id, one.attempt), float("inf")) + 1
        if last[one.job_id] > one.attempt
    }


def _withhold(stack: Stack, pid: int) -> None:
    """What this worker sends to Postgres from now on arrives late, if it dies."""
    proxy = stack.faulty_proxy
    try:
        links = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return
    proxy.withhold({one.laddr.port for one in links if one.raddr and one.raddr.port == proxy.port})


def _over(stack: Stack, plan: DelayedStorm) -> bool:
    done = "SELECT count(*) FROM orchestration WHERE outcome = 'Completed' AND event_published_at IS NOT NULL"
    return stack.number(done) == plan.orchestrations
