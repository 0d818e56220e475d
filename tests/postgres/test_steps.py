"""Durable steps in the database: under the fence, once, kept by a retry, gone with their job."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from daemon.job import Claim, Failed, Interrupted, StopReason
from daemon.observe import Observer
from daemon.postgres.database import async_engine
from daemon.postgres.maintenance import Ages, Maintenance
from daemon.postgres.steps import DurableSteps
from daemon.postgres.sweep import verify
from daemon.recorder import RecordedStep
from tests.postgres.cutting_proxy import CuttingProxy
from tests.postgres.scene import BOOM, TTL, Scene, Worker, message_for, messages_for, pointer_to, writing

CHARGE = RecordedStep("charge", 1, '{"paid": 0.10}')
SHIP = RecordedStep("ship", 2, "null")


async def record(scene: Scene, *writes: tuple[Claim, RecordedStep]) -> list[bool]:
    """Record steps at the same time, so that they share a batch."""
    steps = DurableSteps(scene.engine, Observer())
    async with writing(steps):
        return list(await asyncio.gather(*(steps.record(claim, step) for claim, step in writes)))


async def recorded(scene: Scene, claim: Claim) -> list[RecordedStep]:
    steps = DurableSteps(scene.engine, Observer())
    async with writing(steps):
        return await steps.recorded(claim)


async def interrupted(scene: Scene, worker: Worker, claim: Claim) -> Claim:
    """The claim of the next attempt."""
    await worker.settle(claim, Interrupted(StopReason.DRAINING))
    return await worker.claim(pointer_to(message_for(claim.orchestration_id, job_id=claim.job_id)))


async def test_the_next_attempt_reads_what_was_recorded_to_the_letter(scene: Scene) -> None:
    worker = await scene.worker()
    first, other = [await worker.claim(message) for message in messages_for(uuid4(), 2)]
    assert await record(scene, (first, SHIP), (other, CHARGE), (first, CHARGE)) == [True] * 3
    second = await interrupted(scene, worker, first)
    assert await recorded(scene, second) == [CHARGE, SHIP]
    assert await recorded(scene, other) == [CHARGE]


async def test_a_stale_attempt_records_nothing_and_deletes_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    stale = await worker.claim(message_for(uuid4()))
    await record(scene, (stale, CHARGE))
    current = await interrupted(scene, worker, stale)
    later = RecordedStep("ship", 2, '"by the current attempt"')
    assert await record(scene, (stale, SHIP), (current, later)) == [False, True]
    steps = DurableSteps(scene.engine, Observer())
    async with writing(steps):
        assert await steps.forget(stale) is False
        assert await steps.recorded(current) == [CHARGE, later]
        assert await steps.forget(current) is True
        assert await steps.recorded(current) == []


async def test_a_record_that_waited_for_a_rescue_writes_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    async with scene.rival() as rival:
        await rival.run("UPDATE job SET worker_id = NULL, losses = 1, publish_at = now()")
        recording = asyncio.create_task(record(scene, (claim, CHARGE)))
        await scene.until_blocked()
        await rival.commit()
    assert await recording == [False]
    assert await scene.value("count(*) FROM durable_step") == 0


async def test_a_record_whose_answer_is_lost_is_stored_once(scene: Scene) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    async with CuttingProxy(scene.url).running() as proxy:
        engine = async_engine(proxy.url, 2)
        steps = DurableSteps(engine, Observer())
        async with writing(steps):
            proxy.cut_after(b"INTO durable_step")
            assert await steps.record(claim, CHARGE) is True
        await engine.dispose()
    assert proxy.cuts == 1
    assert await recorded(scene, claim) == [CHARGE]


async def test_workers_lost_before_a_recorded_step_do_not_count_against_the_job(scene: Scene) -> None:
    message = message_for(uuid4())
    for attempt in range(1, 6):
        victim = await scene.worker()
        claim = await victim.claim(message)
        assert claim.attempt == attempt
        await record(scene, (claim, RecordedStep(f"step {attempt}", attempt, "1")))
        await scene.silence(victim)
        await (await scene.worker()).rescue()
        await scene.run("UPDATE job SET not_before = NULL, publish_at = now()")
        message = pointer_to(message)
    row = await scene.job(message.job_id)
    assert (row["status"], row["losses"]) == ("InProgress", 5)
    for _ in range(2):  # with the one after the last step they are three
        victim = await scene.worker()
        await victim.claim(pointer_to(message))
        await scene.silence(victim)
        await (await scene.worker()).rescue()
        await scene.run("UPDATE job SET not_before = NULL WHERE status = 'InProgress'")
    assert (await scene.job(message.job_id))["status"] == "Errored"


async def test_a_retry_of_the_orchestration_keeps_recorded_steps(scene: Scene) -> None:
    worker, made = await scene.worker(), await scene.kick_off()
    message = made.jobs[0].message
    claim = await worker.claim(message)
    await record(scene, (claim, CHARGE))
    await worker.settle(claim, Failed(BOOM, final=True))
    await scene.publish_events()
    assert await scene.retries.retry_failed(made.id) == 1
    again = await worker.claim(pointer_to(message))
    assert await recorded(scene, again) == [CHARGE]


async def test_steps_are_pruned_with_their_job(scene: Scene) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    await record(scene, (claim, CHARGE))
    await worker.settle(claim)
    await scene.publish_events()
    await scene.run("UPDATE orchestration SET completed_at = now() - interval '9 days'")
    await Maintenance(scene.engine).prune(Ages(completed=86_400.0, failed=86_400.0))
    assert await scene.value("count(*) FROM job") == 0
    assert await scene.value("count(*) FROM durable_step") == 0


async def test_verify_names_a_job_with_steps_of_an_attempt_it_never_had(scene: Scene) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    await record(scene, (claim, CHARGE))
    assert await verify(scene.engine, TTL) == []
    await scene.run("UPDATE durable_step SET attempt = 7")
    (found,) = await verify(scene.engine, TTL)
    assert (found.check, found.id) == ("steps", str(claim.job_id))
    assert "'charge'" in found.text


@pytest.mark.parametrize("size", [1, 200])
async def test_many_steps_of_a_job_are_read_in_their_order(scene: Scene, size: int) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    many = [RecordedStep(f"step {number}", number, f"{number}") for number in range(1, size + 1)]
    assert all(await record(scene, *((claim, step) for step in reversed(many))))
    assert await recorded(scene, claim) == many
