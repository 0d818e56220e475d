"""How long until an interrupted job runs again: after kill -9, after SIGTERM, and in a rolling replacement.

Run by `python -m tests.chaos` with the default timings too, and in short by the system tests.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import pairwise
from uuid import UUID

from daemon.rules.messages import instance_id
from tests.chaos.busy_cores import busy_cores
from tests.chaos.checks import check_invariants, overlaps, silenced_at
from tests.chaos.checks import intervals as attempts_of
from tests.chaos.load import Load
from tests.chaos.report import Report, quantile
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import Member, WorkerPool
from tests.harness.waiting import until

EXIT_LIMIT = 9.0
AGAIN_LIMIT = 2.0
GAP_LIMIT = 2.0
LONG_NAP = 600.0


def jobs_of(orchestration: UUID, count: int) -> list[UUID]:
    """The ids of its instances."""
    return [instance_id(orchestration, index) for index in range(count)]


async def all_begun(stack: Stack, job_ids: Sequence[UUID], within: float = 30.0) -> None:
    """Wait until each of the jobs has begun."""
    await until(
        lambda: len({one.job_id for one in stack.attempts(job_ids)}) == len(job_ids),
        within=within,
        what=f"{len(job_ids)} jobs have begun",
    )


async def all_regular(stack: Stack, workers: int, worker_ttl: float) -> None:
    """Wait until so many workers may judge others: after a start that takes one worker_ttl."""
    question = "SELECT count(*) FROM worker WHERE regular_since <= now() - make_interval(secs => %s)"
    await until(
        lambda: stack.number(question, worker_ttl) >= workers, within=worker_ttl * 2 + 30, what="all are regular"
    )


def busiest(stack: Stack, pool: WorkerPool, job_ids: Sequence[UUID]) -> Member:
    """The member that runs most of the jobs."""
    counts = Counter(one.pid for one in stack.attempts(job_ids))
    return max(pool.free, key=lambda member: counts[member.worker.pid])


async def waits_after(stack: Stack, pid: int, at: float, job_ids: Sequence[UUID], within: float) -> list[float]:
    """How long after `at` each job that ran in `pid` began anew in another process."""
    lost = {one.job_id: one.attempt for one in stack.attempts(job_ids) if one.pid == pid}

    def again() -> dict[str, float]:
        later = [one for one in stack.attempts(job_ids) if one.attempt > lost.get(one.job_id, one.attempt)]
        return {one.job_id: one.at for one in reversed(later)}

    await until(lambda: len(again()) == len(lost), within=within, what=f"{len(lost)} jobs run again")
    return [begun - at for begun in again().values()]


async def after_kill(worker_ttl: float, *, jobs: int = 40, rounds: int = 1, at: str | None = None) -> Report:
    """Kill -9 of the busier of two workers: everything it ran begins again within worker_ttl + 5 s."""
    report = Report(f"kill -9 with worker_ttl {worker_ttl:g} s")
    waits: list[float] = []
    with Stack(at=at) as stack:
        await stack.provision()
        environment = stack.environment(slots=jobs * 2, worker_ttl_seconds=worker_ttl)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 2) as pool:
            for _ in range(rounds):
                await pool.until_ready()
                await all_regular(stack, 2, worker_ttl)
                made = await client.kick_off("nap", [{"seconds": LONG_NAP}] * jobs)
                ids = jobs_of(made.id, jobs)
                await all_begun(stack, ids)
                victim = busiest(stack, pool, ids)
                pool.kill(victim)
                intervention = pool.interventions[-1]
                waits += await waits_after(stack, intervention.pid, intervention.at, ids, worker_ttl + 30)
                await made.cancel()
            report.none_of("workers that ended by themselves", pool.unasked_exits())
            report.none_of(
                "two live attempts of one job",
                overlaps(attempts_of(stack.entries(), silenced_at(pool.interventions, pool.exits))),
            )
        await check_invariants(report, stack, worker_ttl)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    report.note("jobs that were running", len(waits))
    report.note("run again after, p50, s", quantile(waits, 0.5))
    report.within("run again after, p99", quantile(waits, 0.99), worker_ttl + 5)
    return report


EVERY_MANNER = {"nap": 5, "doze": 5, "swallow": 5, "deaf": 5}
BLOCKED = {"nap": 1, "block": 1}
STUCK = {"nap": 5, "swallow": 5, "deaf": 5, "block": 1}


async def after_sigterm(
    manners: Mapping[str, int] = EVERY_MANNER, *, crowded: bool = False, at: str | None = None
) -> Report:
    """SIGTERM of a worker with so many handlers of each manner: a quick exit, and everything goes on elsewhere.

    The machine is `crowded` with endless loops from the signal until the exit.
    """
    handlers = ", ".join(f"{count} x {name}" for name, count in manners.items())
    report = Report(f"SIGTERM with {handlers}{' on a crowded machine' if crowded else ''}")
    with Stack(at=at) as stack:
        await stack.provision()
        environment = stack.environment(slots=40, prefetch=0)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 1) as pool:
            victim = pool.members[0]
            made = []
            for name, count in manners.items():  # one after the other: nothing begins beside a blocked loop
                made.append(await client.kick_off(name, [{"seconds": 90.0}] * count))
                await all_begun(stack, jobs_of(made[-1].id, count))
            ids = [job for one, count in zip(made, manners.values(), strict=True) for job in jobs_of(one.id, count)]
            async with WorkerPool(environment, stack.folder, 1) as others:
                with busy_cores() if crowded else nullcontext():
                    pid, asked = victim.worker.pid, pool.terminate(victim)
                    pool.replaces = False
                    await until(lambda: pool.exit_of(pid), within=20, what="the worker has gone")
                gone = pool.exit_of(pid)
                assert gone is not None
                waits = await waits_after(stack, pid, gone.at, ids, 60)
                report.within("exit after", gone.at - asked, EXIT_LIMIT)
                report.is_exactly("exit code", gone.code, 0)
                report.note("jobs that were running", len(waits))
                report.note("run again after the exit, p50, s", quantile(waits, 0.5))
                report.within("run again after the exit, longest", max(waits), AGAIN_LIMIT)
                charged = "SELECT coalesce(sum(failures + losses), 0) FROM job"
                report.is_exactly("failures and losses charged", stack.number(charged), 0)
                for one in made:
                    await one.cancel()
                others.kill(others.members[0])
                others.replaces = False
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    return report


async def unheard_stop(worker_ttl: float, at: str | None = None) -> Report:
    """SIGTERM of a blocked worker whose database does not answer: no last transaction, and yet a quick exit."""
    report = Report("SIGTERM with a blocked event loop and a mute database")
    with Stack(proxied=True, at=at) as stack:
        await stack.provision()
        environment = stack.environment(worker_ttl_seconds=worker_ttl, prefetch=0)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 1) as pool:
            made = await client.kick_off("block", [{"seconds": 90.0}])
            ids = jobs_of(made.id, 1)
            await all_begun(stack, ids)
            stack.proxy.freeze()
            pid, asked = pool.members[0].worker.pid, pool.terminate(pool.members[0])
            await until(lambda: pool.exit_of(pid), within=20, what="the worker has gone")
            gone = pool.exit_of(pid)
            assert gone is not None
            stack.proxy.thaw()
            report.within("exit after", gone.at - asked, EXIT_LIMIT)
            report.is_exactly("exit code", gone.code, 0)
            await made.wait(timeout=worker_ttl * 3 + 30)
            report.is_exactly("runs", len(stack.attempts(ids)), 2)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    return report


async def rolling(*, workers: int = 4, slots: int = 20, at: str | None = None) -> Report:
    """Every worker is replaced, one after the other, under load."""
    report = Report(f"rolling replacement of {workers} workers under load")
    with Stack(at=at) as stack:
        await stack.provision()
        async with WorkerPool(stack.environment(slots=slots), stack.folder, workers) as pool:
            load = Load(stack, 6 * workers * 4, 40, seconds=6.0 * workers, nap=0.3, seed=11)
            loading = asyncio.create_task(load.run())
            await until(lambda: len(stack.entries()) > 50, within=30, what="the load has begun")
            exits = []
            first = time.monotonic()
            for member in pool.members:
                pid, asked = member.worker.pid, pool.terminate(member)
                await until(lambda pid=pid: pool.exit_of(pid), within=20, what="it has gone")  # type: ignore[misc]
                gone = pool.exit_of(pid)
                assert gone is not None
                exits.append(gone.at - asked)
                report.is_exactly(f"exit code of {pid}", gone.code, 0)
                await pool.until_ready()
            last = time.monotonic()
            await loading
            count = "SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL"
            await until(lambda: stack.number(count) == len(load.made), within=120, what="all is complete")
            live = attempts_of(stack.entries(), silenced_at(pool.interventions, pool.exits))
            report.none_of("two live attempts of one job", overlaps(live))
        ends = sorted(one.at for one in stack.entries() if one.kind == "end" and one.text == "returned")
        within = [at for at in ends if first <= at <= last]
        gaps = [later - earlier for earlier, later in pairwise(within)]
        report.note("replacement took, s", last - first)
        report.note("jobs finished meanwhile", len(within))
        report.within("longest time without a finished job", max(gaps), GAP_LIMIT)
        report.within("slowest exit", max(exits), EXIT_LIMIT)
        charged = "SELECT coalesce(sum(failures + losses), 0) FROM job"
        report.is_exactly("failures and losses charged", stack.number(charged), 0)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    return report
