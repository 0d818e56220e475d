"""Workers that are cut off, that take their jobs down with them, and whose clock jumps.

Run by `python -m tests.chaos` with the default timings, and in short by the system tests.
"""

from __future__ import annotations

import asyncio
import time

from tests.chaos.checks import check_invariants, intervals, overlaps, silenced_at
from tests.chaos.report import Report
from tests.chaos.scenarios.recovery import all_begun, all_regular, busiest, jobs_of
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

JOBS = 10
CALM_SECONDS = 2.0


async def stopped(worker_ttl: float, lease: float = 60.0, at: str | None = None) -> Report:
    """SIGSTOP for longer than worker_ttl, then SIGCONT: the claims are gone, late writes change nothing.

    What is published again may be handed to the stopped worker's open stream, and comes back when its lease expires.
    """
    report = Report(f"stopped for longer than worker_ttl ({worker_ttl:g} s)")
    with Stack(at=at) as stack:
        await stack.provision()
        environment = stack.environment(worker_ttl_seconds=worker_ttl, lease_seconds=lease, slots=JOBS * 2, prefetch=0)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 2) as pool:
            await all_regular(stack, 2, worker_ttl)
            long = await client.kick_off("nap", [{"seconds": 600.0}] * JOBS)
            # Due to end while the worker stands still: its outcomes are the late writes.
            short = await client.kick_off("nap", [{"seconds": 6.0}] * JOBS)
            ids = [*jobs_of(long.id, JOBS), *jobs_of(short.id, JOBS)]
            await all_begun(stack, ids)
            member = busiest(stack, pool, ids)
            pid = member.worker.pid
            workers_before = {row[0] for row in stack.rows("SELECT id FROM worker")}
            pool.stop(member)
            intervention = pool.interventions[-1]
            held = {
                one.job_id
                for one in intervals(stack.entries(), silenced_at(pool.interventions, []))
                if one.pid == pid and one.end == intervention.at
            }
            lost = "SELECT coalesce(sum(losses), 0) FROM job"
            await until(lambda: stack.number(lost) == len(held), within=worker_ttl + 30, what="all are taken back")
            report.within("taken back after", time.monotonic() - intervention.at, worker_ttl + 5)
            again = "SELECT count(*) FROM job WHERE attempt > 1 AND (worker_id IS NOT NULL OR status = 'Completed')"
            await until(lambda: stack.number(again) > 0, within=lease * 2 + 30, what="some run again")
            pool.resume(member)
            await until(
                lambda: not _still_open(stack, pid, intervention.at), within=30, what="all its handlers have ended"
            )
            ends = [one for one in stack.entries() if one.pid == pid and one.kind == "end" and one.at > intervention.at]
            cancelled = [one for one in ends if one.text == "CancelledError ClaimLost"]
            returned = [one for one in ends if one.text == "returned"]
            report.note("attempts it ran when it was stopped", len(held))
            report.note("handlers cancelled and told ClaimLost", len(cancelled))
            report.note("handlers that returned before the cancel reached them", len(returned))
            report.is_exactly("handlers that ended otherwise", len(ends) - len(cancelled) - len(returned), 0)
            await short.wait(timeout=lease * 2 + 30)
            after = await client.kick_off("nap", [{"seconds": 0.5}] * JOBS * 2)
            await after.wait(timeout=60)
            ran = {one.pid for one in stack.attempts(jobs_of(after.id, JOBS * 2))}
            workers_after = {row[0] for row in stack.rows("SELECT id FROM worker")}
            report.is_exactly("it lives on", pool.exit_of(pid) is None and pid in ran, True)
            report.is_exactly("workers with a new id", len(workers_after - workers_before), 1)
            live = intervals(stack.entries(), silenced_at(pool.interventions, pool.exits))
            report.none_of("two live attempts of one job", overlaps(live))
            attempts = "SELECT count(*) FROM job WHERE status = 'Completed' AND orchestration_id = %s"
            report.is_exactly("short jobs Completed", stack.number(attempts, short.id), JOBS)
            report.is_exactly("losses counted", stack.number(lost), len(held))
            await long.cancel()
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
        await check_invariants(report, stack, worker_ttl)
    return report


async def poison(worker_ttl: float, *, max_worker_losses: int = 3, at: str | None = None) -> Report:
    """A job that kills its worker is given up after max_worker_losses; the others come through."""
    report = Report(f"a job that kills its worker (worker_ttl {worker_ttl:g} s)")
    with Stack(at=at) as stack:
        await stack.provision()
        environment = stack.environment(worker_ttl_seconds=worker_ttl)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 2) as pool:
            await all_regular(stack, 2, worker_ttl)
            bad = await client.kick_off("poison", [{}])
            good = await client.kick_off("nap", [{"seconds": 0.2}] * 30)
            state = await bad.wait(timeout=(worker_ttl * 2 + 15) * max_worker_losses)
            await good.wait(timeout=60)
            _, failures = await bad.results()
            error = failures[0].error if failures else None
            report.is_exactly("kind", str(error.kind) if error else "none", "WorkerLost")
            report.is_exactly("errored", state.errored, 1)
            report.is_exactly("runs", len(stack.attempts(jobs_of(bad.id, 1))), max_worker_losses)
            report.is_exactly("workers it took along", len(pool.exits), max_worker_losses)
            report.is_exactly("others Completed", (await good.progress()).completed, 30)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
        await check_invariants(report, stack, worker_ttl)
    return report


async def clock_jump(worker_ttl: float, at: str | None = None) -> Report:
    """A worker's own clock jumps an hour ahead, and back: nobody is declared dead, nothing is early or late."""
    report = Report("a worker's clock jumps by an hour")
    with Stack(at=at) as stack:
        await stack.provision()
        environment = stack.environment(worker_ttl_seconds=worker_ttl)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 2) as pool:
            await all_regular(stack, 2, worker_ttl)
            running = await client.kick_off("nap", [{"seconds": worker_ttl * 1.5}] * JOBS)
            await all_begun(stack, jobs_of(running.id, JOBS))
            for hours in (1.0, -1.0):
                jump = await client.kick_off("jump", [{"seconds": hours * 3600}])
                await jump.wait(timeout=30)
                await asyncio.sleep(CALM_SECONDS)
            await running.wait(timeout=worker_ttl * 2 + 30)
            await (await client.kick_off("nap", [{}] * JOBS)).wait(timeout=30)
            report.is_exactly("runs", len(stack.attempts(jobs_of(running.id, JOBS))), JOBS)
            report.is_exactly("losses and failures", stack.number("SELECT sum(losses + failures) FROM job"), 0)
            report.is_exactly("attempts that did not complete", stack.number("SELECT count(*) FROM failed_attempt"), 0)
            report.none_of("workers that ended", pool.exits)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    return report


def _still_open(stack: Stack, pid: int, before: float) -> list[str]:
    """Attempts that began before it was stopped and have not ended; it may have got some of the jobs anew."""
    own = [one for one in intervals(stack.entries(), {}) if one.pid == pid and one.begin < before]
    return [str(one) for one in own if one.end == float("inf")]
