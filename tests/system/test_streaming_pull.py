"""A worker that is killed with its tasks full, and one whose event loop is blocked: who runs what it had, and when."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from tests.chaos.scenarios.recovery import LONG_NAP, jobs_of
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

MESSAGES = 1_000
ELSEWHERE_SECONDS = 45.0


def begun_by_others(stack: Stack, jobs: list[UUID], pid: int) -> set[str]:
    return {one.job_id for one in stack.attempts(jobs) if one.pid != pid}


@pytest.mark.long
async def test_what_a_killed_worker_had_sent_receipts_for_runs_elsewhere_within_45_seconds() -> None:
    """In the mode in which the server starts the timers of ten minutes for messages without a receipt."""
    with Stack() as stack:
        await stack.provision()
        stack.control.wait_for_receipts(600)
        subscription = stack.settings().subscription("jobs-worker")
        full = stack.environment(slots=MESSAGES // 4, prefetch=MESSAGES, buffer_timeout_seconds=600)
        async with stack.client() as client, WorkerPool(full, stack.folder, 1) as pool:
            pool.replaces = False
            made = await client.kick_off("nap", [{"seconds": LONG_NAP}] * MESSAGES)
            jobs = jobs_of(made.id, MESSAGES)
            await until(lambda: stack.control.subscription(subscription)["receipts"] == MESSAGES, within=30)
            victim = pool.members[0].worker.pid
            pool.kill(pool.members[0])
            killed = time.monotonic()
            async with WorkerPool(stack.environment(slots=MESSAGES + 100), stack.folder, 1):
                await until(
                    lambda: len(begun_by_others(stack, jobs, victim)) == MESSAGES,
                    within=ELSEWHERE_SECONDS,
                    what="all of them have begun elsewhere",
                )
                assert time.monotonic() - killed < ELSEWHERE_SECONDS + 10, "the start of the other one included"
                await made.cancel()
        assert stack.repairs() == 0


@pytest.mark.long
async def test_a_handler_that_blocks_the_loop_for_longer_than_any_lease_costs_no_second_run() -> None:
    """90 s at a patience of 120 s, divided by 4; leases can't be under 10 s, and this is more than two of them."""
    blocked = 22.5
    with Stack() as stack:
        await stack.provision()
        environment = stack.environment(slots=2, prefetch=4, lease_seconds=10, event_loop_timeout_seconds=30)
        async with stack.client() as client, WorkerPool(environment, stack.folder, 1) as pool:
            pool.replaces = False
            made = await client.kick_off("block", [{"seconds": blocked}])
            await until(lambda: stack.attempts(jobs_of(made.id, 1)))
            waiting = await client.kick_off("nap", [{"seconds": 0.1}] * 6)
            async with WorkerPool(environment, stack.folder, 1) as second:
                await waiting.wait(timeout=blocked)
                await made.wait(timeout=blocked * 2)
                assert len(stack.attempts(jobs_of(made.id, 1))) == 1
                assert len(stack.attempts(jobs_of(waiting.id, 6))) == 6
                assert [one.worker.exit_code for one in (*pool.members, *second.members)] == [None, None]
        assert stack.repairs() == 0
