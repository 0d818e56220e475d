"""One job ended by hand: once, whatever a worker does with it at the same time."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from daemon.errors import OrchestrationNotFound, RequestRefused
from daemon.job import Returned, Settled
from daemon.postgres.job_operations import JobOperations
from tests.postgres.scene import Scene


@pytest.fixture
def operations(scene: Scene) -> JobOperations:
    return JobOperations(scene.engine)


async def test_a_waiting_job_is_cancelled_once_and_its_orchestration_ends_with_the_others(
    scene: Scene, operations: JobOperations
) -> None:
    made = await scene.kick_off(2)
    first, second = [item.message.job_id for item in made.jobs]
    assert await operations.cancel(first)
    assert not await operations.cancel(first)
    assert (await scene.job(first))["error"]["kind"] == "Cancelled"
    assert (await scene.orchestration(made.id))["completed_at"] is None
    assert await operations.complete(second, '{"by": "hand"}')
    whole = await scene.orchestration(made.id)
    assert (whole["completed"], whole["errored"], whole["outcome"]) == (1, 1, "Partial")
    assert (await scene.job(second))["result"] == {"by": "hand"}


async def test_a_running_job_is_cancelled_under_its_worker_but_not_completed(
    scene: Scene, operations: JobOperations
) -> None:
    worker = await scene.worker()
    made = await scene.kick_off(1)
    claim = await worker.claim(made.jobs[0].message)
    with pytest.raises(RequestRefused, match=str(worker.id)):
        await operations.complete(claim.job_id, "null")
    assert await operations.cancel(claim.job_id)
    assert (await scene.job(claim.job_id))["occupied_by"] == worker.id, "its handler has not ended yet"
    assert await worker.settle(claim, Returned("1")) is Settled.STALE
    assert (await scene.job(claim.job_id))["status"] == "Errored"


async def test_many_hands_at_once_end_it_once(scene: Scene, operations: JobOperations) -> None:
    made = await scene.kick_off(1)
    job = made.jobs[0].message.job_id
    tries = [operations.cancel(job) if number % 2 else operations.complete(job, "1") for number in range(8)]
    assert sum(await asyncio.gather(*tries)) == 1
    whole = await scene.orchestration(made.id)
    assert whole["completed"] + whole["errored"] == 1


async def test_an_id_of_nothing_is_not_found(operations: JobOperations) -> None:
    with pytest.raises(OrchestrationNotFound):
        await operations.cancel(uuid4())
