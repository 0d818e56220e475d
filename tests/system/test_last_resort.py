"""A worker that has to go ends in time and says why, whatever its handlers do."""

from __future__ import annotations

import re
import time

import pytest

from tests.chaos.scenarios.recovery import all_begun, jobs_of
from tests.chaos.stack import Stack
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess

KILLED_AFTER = 10.0


async def test_a_worker_that_lost_its_subscription_says_so_and_ends_although_its_handlers_hang() -> None:
    with Stack() as stack:
        await stack.provision()
        async with WorkerProcess(stack.environment(), stack.folder) as worker, stack.client() as client:
            for name in ("deaf", "swallow", "nap"):
                made = await client.kick_off(name, [{"seconds": 90.0}])
                await all_begun(stack, jobs_of(made.id, 1))
            stack.control.wipe(stack.project)
            await until(lambda: worker.status_of("/readyz") == 503, within=20, what="it is not ready")
            noticed = time.monotonic()
            await worker.until_exit(code=2, within=30)
            assert time.monotonic() - noticed < KILLED_AFTER
            assert "does not exist" in worker.log
            assert stack.number("SELECT count(*) FROM job WHERE worker_id IS NOT NULL") == 0
            assert stack.number("SELECT sum(losses + failures) FROM job") == 0


async def test_a_second_signal_ends_a_worker_at_once_although_a_handler_swallows_its_cancellation() -> None:
    with Stack() as stack:
        await stack.provision()
        async with WorkerProcess(stack.environment(), stack.folder) as worker, stack.client() as client:
            made = await client.kick_off("swallow", [{"seconds": 90.0}])
            await all_begun(stack, jobs_of(made.id, 1))
            worker.terminate()
            await until(lambda: worker.status_of("/readyz") == 503, what="it drains")
            worker.terminate()
            asked = time.monotonic()
            await worker.until_exit(code=0)
            assert time.monotonic() - asked < 5, "neither the drain nor the last resort was waited for"
            assert stack.number("SELECT count(*) FROM job WHERE worker_id IS NOT NULL") == 0


@pytest.mark.long
async def test_a_handler_that_holds_the_whole_interpreter_cannot_hold_up_the_end_and_is_named() -> None:
    with Stack() as stack:
        await stack.provision()
        async with WorkerProcess(stack.environment(), stack.folder) as worker, stack.client() as client:
            made = await client.kick_off("seize", [{"seconds": 90.0}])
            await all_begun(stack, jobs_of(made.id, 1))
            worker.terminate()
            asked = time.monotonic()
            await worker.until_exit(code=1)
            assert time.monotonic() - asked < KILLED_AFTER
            assert re.search(r"wild\.py.*in seize", worker.log)
