"""Messages in the tasks of a worker that is gone or hangs, which it has not begun: they come back by their leases.

Run by `python -m tests.chaos`, and in short by the system tests. Rescue knows nothing of these: no row says who has
them.
"""

from __future__ import annotations

import time

from tests.chaos.report import Report, quantile
from tests.chaos.scenarios.recovery import LONG_NAP, all_begun, jobs_of
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

SLOTS = 5


async def held_by_a_killed_worker(lease: float = 60.0, *, limit: float = 35.0, at: str | None = None) -> Report:
    """Kill -9 of a worker that holds messages for which it has no slot: when do they begin elsewhere?"""
    report = Report(f"kill -9 of a worker that holds messages (leases of {lease:g} s)")
    with Stack(at=at) as stack:
        await stack.provision()
        held_for_long = stack.environment(slots=SLOTS, prefetch=SLOTS, lease_seconds=lease, buffer_timeout_seconds=600)
        async with stack.client() as client, WorkerPool(held_for_long, stack.folder, 1) as pool:
            pool.replaces = False
            running = await client.kick_off("nap", [{"seconds": LONG_NAP}] * SLOTS)
            await all_begun(stack, jobs_of(running.id, SLOTS))
            holding = await client.kick_off("nap", [{"seconds": 0.1}] * SLOTS)
            victim = pool.members[0].worker
            await until(
                lambda: f'headcount_messages_buffered{{pool="default"}} {SLOTS:.1f}' in victim.body_of("/metrics"),
                what="it holds",
            )
            async with WorkerPool(stack.environment(slots=SLOTS * 4, lease_seconds=lease), stack.folder, 1):
                pool.kill(pool.members[0])
                killed = time.monotonic()
                await holding.wait(timeout=lease * 2 + 30)
                begun = [one.at - killed for one in stack.attempts(jobs_of(holding.id, SLOTS))]
                report.is_exactly("messages it held", len(begun), SLOTS)
                report.note("begun elsewhere after, p50, s", quantile(begun, 0.5))
                report.within("begun elsewhere after, longest", max(begun), limit)
                await running.cancel()
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    return report


async def sent_to_a_hung_worker(lease: float = 60.0, *, at: str | None = None) -> Report:
    """SIGSTOP of one of two workers: its stream is open, and what is sent to it waits until nobody has it any more."""
    report = Report(f"messages sent to a worker that hangs (leases of {lease:g} s)")
    count = SLOTS * 4
    with Stack(at=at) as stack:
        await stack.provision()
        environment = stack.environment(slots=count, lease_seconds=lease)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 2) as pool:
            pool.replaces = False
            pool.stop(pool.members[0])
            made = await client.kick_off("nap", [{"seconds": 0.1}] * count)
            kicked_off = time.monotonic()
            await made.wait(timeout=lease * 4 + 30)
            begun = [one.at - kicked_off for one in stack.attempts(jobs_of(made.id, count))]
            late = [one for one in begun if one > 2.0]
            report.note("messages that it got", len(late))
            report.note("begun elsewhere after, p50, s", quantile(late, 0.5))
            report.note("begun elsewhere after, longest, s", max(begun))  # each time half of them go to it again
            report.is_exactly("runs", len(begun), count)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    return report
