"""The storm: everything at once, for as long as thousands of jobs take.

Run in full by `python -m tests.chaos`, in its short form by the system tests.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tests.chaos.checks import check_events, check_invariants, check_rows, check_runs
from tests.chaos.event_listener import EventListener
from tests.chaos.load import Load
from tests.chaos.monkey import ChaosPlan, Monkey
from tests.chaos.report import Report
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

LAST_DUPLICATES = 1.0


@dataclass(frozen=True, slots=True)
class Storm:
    """How much of it. `nap` is the mean length of a job, `spread` how long the kick-offs take; all in seconds."""

    workers: int = 4
    orchestrations: int = 200
    size: int = 100
    slots: int = 20
    nap: float = 0.8
    spread: float = 120.0
    worker_ttl: float = 30.0
    lease: float = 60.0
    patience: float = 900.0
    sweep: float = 60.0
    chaos: ChaosPlan = field(
        default_factory=lambda: ChaosPlan(restart_at=40, crash_at=130, absence_at=80, absence=20, stop_at=25)
    )
    seed: int = 7

    @property
    def jobs(self) -> int:
        return self.orchestrations * self.size


async def storm(stack: Stack, plan: Storm, name: str) -> Report:
    """Run it and check the outcome."""
    report = Report(name)
    await stack.provision()
    settings = {
        "slots": plan.slots,
        "worker_ttl_seconds": plan.worker_ttl,
        "lease_seconds": plan.lease,
        "sweep_interval_seconds": plan.sweep,
    }
    load = Load(stack, plan.orchestrations, plan.size, seconds=plan.spread, nap=plan.nap, seed=plan.seed)
    with EventListener(stack.project) as listener:
        async with WorkerPool(stack.environment(**settings), stack.folder, plan.workers) as pool:
            began = time.monotonic()
            monkey = Monkey(stack, pool, plan.chaos, plan.seed)
            harm = asyncio.create_task(monkey.run())
            try:
                await load.run()
                await until(lambda: _complete(stack, monkey, plan.orchestrations), within=plan.patience)
            finally:
                harm.cancel()
                await asyncio.wait({harm})
            report.note("seconds until all was complete", time.monotonic() - began)
            await until(lambda: len(listener.event_ids()) >= plan.orchestrations, within=60, what="all events came")
            await asyncio.sleep(LAST_DUPLICATES)
            home = await pool.terminate_all()
            report.within("slowest exit after SIGTERM", max(seconds for _, seconds in home), 9.0)
            report.is_exactly("exit codes after SIGTERM", " ".join(sorted({str(code) for code, _ in home})), "0")
            report.none_of(
                "workers that ended by themselves", (f"{one.pid}: {one.code}" for one in pool.unexpected_exits())
            )
        report.note("kick-offs repeated", load.repeated)
        check_events(report, listener, load.made)
    check_rows(report, stack, plan.jobs, plan.orchestrations)
    check_runs(
        report,
        stack.entries(),
        pool.interventions,
        pool.exits,
        jobs=plan.jobs,
        slots=plan.slots,
        gently=plan.chaos.gently,
    )
    errored = "SELECT count(*) FROM job WHERE status = 'Errored'"
    report.note("jobs that lost three workers", stack.number(f"{errored} AND error ->> 'kind' = 'WorkerLost'"))
    report.is_exactly("jobs Errored otherwise", stack.number(f"{errored} AND error ->> 'kind' <> 'WorkerLost'"), 0)
    await check_invariants(report, stack, plan.worker_ttl)
    return report


def _complete(stack: Stack, monkey: Monkey, orchestrations: int) -> bool:
    """Whether all is over, the planned faults included; asked rarely, for it costs the database a count."""
    if not monkey.finished.is_set():
        return False
    return stack.number("SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL") == orchestrations
