"""The storm: everything at once, for as long as thousands of jobs take.

Run in full by `python -m tests.chaos`, in its short form by the system tests.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tests.chaos.crew import Crew
from tests.chaos.judge import judge_events, judge_invariants, judge_rows, judge_runs
from tests.chaos.load import Load
from tests.chaos.monkey import Mischief, Monkey
from tests.chaos.report import Report
from tests.chaos.stage import Stage
from tests.chaos.witness import Witness
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
    mischief: Mischief = field(
        default_factory=lambda: Mischief(restart_at=40, crash_at=130, absence_at=80, absence=20, stop_at=25)
    )
    seed: int = 7

    @property
    def jobs(self) -> int:
        return self.orchestrations * self.size


async def storm(stage: Stage, plan: Storm, name: str) -> Report:
    """Run it and judge it."""
    report = Report(name)
    await stage.provision()
    settings = {
        "slots": plan.slots,
        "worker_ttl_seconds": plan.worker_ttl,
        "lease_seconds": plan.lease,
        "sweep_interval_seconds": plan.sweep,
    }
    load = Load(stage, plan.orchestrations, plan.size, seconds=plan.spread, nap=plan.nap, seed=plan.seed)
    with Witness(stage.project) as witness:
        async with Crew(stage.environment(**settings), stage.folder, plan.workers) as crew:
            began = time.monotonic()
            monkey = Monkey(stage, crew, plan.mischief, plan.seed)
            harm = asyncio.create_task(monkey.run())
            try:
                await load.run()
                await until(lambda: _complete(stage, monkey, plan.orchestrations), within=plan.patience)
            finally:
                harm.cancel()
                await asyncio.wait({harm})
            report.note("seconds until all was complete", time.monotonic() - began)
            await until(lambda: len(witness.event_ids()) >= plan.orchestrations, within=60, what="all events came")
            await asyncio.sleep(LAST_DUPLICATES)
            home = await crew.go_home()
            report.within("slowest exit after SIGTERM", max(seconds for _, seconds in home), 9.0)
            report.is_exactly("exit codes after SIGTERM", " ".join(sorted({str(code) for code, _ in home})), "0")
            report.none_of("workers that ended by themselves", (f"{one.pid}: {one.code}" for one in crew.accidents()))
        report.note("kick-offs repeated", load.repeated)
        judge_events(report, witness, load.made)
    judge_rows(report, stage, plan.jobs, plan.orchestrations)
    judge_runs(
        report,
        stage.entries(),
        crew.blows,
        crew.departures,
        jobs=plan.jobs,
        slots=plan.slots,
        gently=plan.mischief.gently,
    )
    errored = "SELECT count(*) FROM job WHERE status = 'Errored'"
    report.note("jobs that lost three workers", stage.number(f"{errored} AND error ->> 'kind' = 'WorkerLost'"))
    report.is_exactly("jobs Errored otherwise", stage.number(f"{errored} AND error ->> 'kind' <> 'WorkerLost'"), 0)
    await judge_invariants(report, stage, plan.worker_ttl)
    return report


def _complete(stage: Stage, monkey: Monkey, orchestrations: int) -> bool:
    """Whether all is over, the planned mischief included; asked rarely, for it costs the database a count."""
    if not monkey.finished.is_set():
        return False
    return stage.number("SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL") == orchestrations
