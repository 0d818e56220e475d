"""The holes of rescue (H4, H7, H9, H13e): who may judge, who is dead, and what happens to the jobs of the dead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from daemon.errors import WorkerGone
from daemon.job import Claim
from daemon.postgres.database import sync_engine
from daemon.postgres.worker_registration import WorkerRegistration
from tests.postgres.scene import GAP, Scene, Worker, message_for, messages_for, pointer_to

JUDGED_BY_SNAPSHOT = """
UPDATE job j SET worker_id = NULL, losses = losses + 1, publish_at = now()
WHERE j.worker_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM worker w WHERE w.id = j.worker_id AND w.seen_at > now() - interval '30 seconds')
RETURNING j.id
"""


@pytest.fixture
def registration(scene: Scene) -> Iterator[WorkerRegistration]:
    registration = WorkerRegistration(sync_engine(scene.url), "host", "revision", 4, GAP)
    yield registration
    registration.close()


async def _holder(scene: Scene, jobs: int = 1) -> tuple[Worker, list[Claim]]:
    worker = await scene.worker()
    answers = await worker.answers(*messages_for(uuid4(), jobs))
    return worker, [answer for answer in answers if isinstance(answer, Claim)]


async def test_the_jobs_of_a_silent_worker_are_due_again_and_its_row_is_gone(scene: Scene) -> None:
    dead, claims = await _holder(scene, 3)
    rescuer = await scene.worker()
    assert await rescuer.rescue() == []
    await scene.silence(dead, 31)
    (rescued,) = await rescuer.rescue()
    assert (rescued.worker_id, rescued.freed, rescued.errored, rescued.completes) == (dead.id, 3, 0, False)
    assert set(rescued.jobs) == {claim.job_id for claim in claims}
    for claim in claims:
        row = await scene.job(claim.job_id)
        assert (row["worker_id"], row["losses"], row["failures"], row["due"]) == (None, 1, 0, True)
        assert await scene.history(claim.job_id) == [(1, "WorkerLost")]
    assert await scene.value("count(*) FROM worker") == 1
    assert await rescuer.rescue() == []


async def test_a_rescue_names_twenty_of_its_jobs_and_those_that_ended_by_it_first(scene: Scene) -> None:
    dead, claims = await _holder(scene, 30)
    last = claims[-1].job_id
    await scene.run("UPDATE job SET losses = 2 WHERE id = :id", id=last)
    rescuer = await scene.worker()
    await scene.silence(dead, 31)
    (rescued,) = await rescuer.rescue()
    assert (rescued.freed, rescued.errored, len(rescued.jobs)) == (29, 1, 20)
    assert rescued.jobs[0] == last


async def test_a_job_that_loses_three_workers_is_errored_and_completes_its_orchestration(scene: Scene) -> None:
    rescuer, message = await scene.worker(), message_for(uuid4())
    for attempt in range(1, 4):
        dead = await scene.worker()
        claim = await dead.claim(message if attempt == 1 else pointer_to(message))
        assert (claim.attempt, claim.losses) == (attempt, attempt - 1)
        await scene.silence(dead)
        (rescued,) = await rescuer.rescue()
    assert (rescued.freed, rescued.errored, rescued.completes) == (0, 1, True)
    row = await scene.job(message.job_id)
    assert (row["status"], row["losses"], row["error"]["kind"]) == ("Errored", 3, "WorkerLost")
    assert (await scene.orchestration(message.orchestration_id))["outcome"] == "Errored"


async def test_a_worker_that_dies_while_it_drains_costs_its_jobs_nothing(
    scene: Scene, registration: WorkerRegistration
) -> None:
    dead, claims = await _holder(scene)
    await asyncio.to_thread(registration.heartbeat, dead.id, 1, True)
    await scene.silence(dead)
    await (await scene.worker()).rescue(max_worker_losses=1)
    row = await scene.job(claims[0].job_id)
    assert (row["status"], row["losses"], row["failures"], row["due"]) == ("InProgress", 0, 0, True)
    assert await scene.history(claims[0].job_id) == [(1, "Interrupted")]


async def test_nobody_judges_before_having_been_regular_for_a_full_ttl(scene: Scene) -> None:
    """H7a: after an outage every heartbeat is old, and the first statement through must not rescue them all."""
    dead, _ = await _holder(scene)
    await scene.silence(dead)
    newborn = await scene.worker(regular=False)
    assert await newborn.rescue() == []
    await scene.run("UPDATE worker SET regular_since = now() - interval '31 seconds' WHERE id = :id", id=newborn.id)
    assert len(await newborn.rescue()) == 1


async def test_nobody_judges_with_a_stale_heartbeat_of_ones_own(scene: Scene) -> None:
    dead, _ = await _holder(scene)
    judge = await scene.worker()
    await scene.silence(dead)
    await scene.silence(judge, GAP + 1)
    assert await judge.rescue() == []


async def test_a_worker_without_a_row_judges_nobody(scene: Scene) -> None:
    dead, _ = await _holder(scene)
    await scene.silence(dead)
    assert await Worker(uuid4(), scene.engine).rescue() == []


async def test_a_gap_between_heartbeats_starts_regularity_anew(scene: Scene, registration: WorkerRegistration) -> None:
    worker = await scene.worker()
    since = "regular_since > now() - interval '1 minute' FROM worker"
    await scene.silence(worker, GAP - 2)
    await asyncio.to_thread(registration.heartbeat, worker.id, 0, False)
    assert not await scene.value(since)
    await scene.silence(worker, GAP + 1)
    await asyncio.to_thread(registration.heartbeat, worker.id, 0, False)
    assert await scene.value(since)


async def test_after_an_outage_of_all_the_first_one_back_rescues_nobody(
    scene: Scene, registration: WorkerRegistration
) -> None:
    first, others = await scene.worker(), [await _holder(scene) for _ in range(3)]
    await scene.run("UPDATE worker SET seen_at = now() - interval '5 minutes'")
    await asyncio.to_thread(registration.heartbeat, first.id, 0, False)
    assert await first.rescue() == []
    assert await scene.value("count(*) FROM worker") == 4
    assert all([(await scene.job(claims[0].job_id))["losses"] == 0 for _, claims in others])


async def test_a_heartbeat_never_brings_a_removed_row_back(scene: Scene, registration: WorkerRegistration) -> None:
    dead, _ = await _holder(scene)
    await scene.silence(dead)
    await (await scene.worker()).rescue()
    with pytest.raises(WorkerGone):
        await asyncio.to_thread(registration.heartbeat, dead.id, 1, False)
    assert await scene.value("count(*) FROM worker") == 1


async def _judged_while_the_heartbeat_is_written(scene: Scene, naive: bool) -> int:
    """How many losses a living worker's job has after a rescue while its heartbeat was about to be committed."""
    holder, claims = await _holder(scene)
    rescuer = await scene.worker()
    await scene.silence(holder)
    async with scene.rival() as rival:
        await rival.run("UPDATE worker SET seen_at = now() WHERE id = :id", id=holder.id)
        await rival.run("UPDATE job SET progress_at = now()")
        rescue = scene.run(JUDGED_BY_SNAPSHOT) if naive else rescuer.rescue()
        rescuing = asyncio.ensure_future(rescue)
        if naive:
            await scene.until_blocked()
        else:  # it does not wait, so that one stuck row holds up no other rescue
            assert await rescuing == []
        await rival.commit()
    await rescuing
    return int((await scene.job(claims[0].job_id))["losses"])


async def test_a_rescue_that_judged_by_its_snapshot_would_take_from_a_living_worker(scene: Scene) -> None:
    assert await _judged_while_the_heartbeat_is_written(scene, naive=True) == 1


async def test_a_heartbeat_that_is_being_written_saves_its_worker(scene: Scene) -> None:
    assert await _judged_while_the_heartbeat_is_written(scene, naive=False) == 0
    assert await scene.value("count(*) FROM worker") == 2


async def test_a_rescue_leaves_a_claim_in_flight_to_a_later_round_which_frees_that_job_too(scene: Scene) -> None:
    dead, claims = await _holder(scene)
    rescuer = await scene.worker()
    made = await scene.kick_off()
    await scene.silence(dead)
    async with scene.rival() as claim:
        await claim.run("SELECT 1 FROM worker WHERE id = :id FOR KEY SHARE", id=dead.id)
        take = "UPDATE job SET worker_id = :me, attempt = 1, publish_at = NULL WHERE id = :id"
        await claim.run(take, me=dead.id, id=made.jobs[0].message.job_id)
        assert await rescuer.rescue() == []
        await claim.commit()
    assert [one.freed for one in await rescuer.rescue()] == [2]
    assert (await scene.job(claims[0].job_id))["losses"] == 1


async def test_two_rescuers_count_one_loss(scene: Scene) -> None:
    dead, claims = await _holder(scene, 5)
    rescuers = [await scene.worker() for _ in range(4)]
    await scene.silence(dead)
    rounds = await asyncio.gather(*[rescuer.rescue() for rescuer in rescuers])
    assert sum(one.freed for rescued in rounds for one in rescued) == 5
    assert [(await scene.job(claim.job_id))["losses"] for claim in claims] == [1] * 5


async def test_a_holder_without_a_row_counts_as_dead(scene: Scene) -> None:
    """H9: its row went away with its jobs still in its name."""
    gone, claims = await _holder(scene)
    await scene.run("DELETE FROM worker WHERE id = :id", id=gone.id)
    assert [one.worker_id for one in await (await scene.worker()).rescue()] == [gone.id]
    assert (await scene.job(claims[0].job_id))["worker_id"] is None


async def test_several_dead_workers_are_told_apart(scene: Scene) -> None:
    dead = {(await _holder(scene, jobs))[0].id: jobs for jobs in (1, 2, 3)}
    rescuer = await scene.worker()
    await scene.run("UPDATE worker SET seen_at = now() - interval '1 hour' WHERE id <> :me", me=rescuer.id)
    assert {one.worker_id: one.freed for one in await rescuer.rescue()} == dead


async def test_the_last_transaction_of_a_worker_frees_whatever_it_holds(
    scene: Scene, registration: WorkerRegistration
) -> None:
    worker, claims = await _holder(scene, 2)
    assert await asyncio.to_thread(registration.deregister, worker.id) == 2
    assert await asyncio.to_thread(registration.deregister, worker.id) == 0
    for claim in claims:
        row = await scene.job(claim.job_id)
        assert (row["worker_id"], row["losses"], row["due"]) == (None, 0, True)
        assert await scene.history(claim.job_id) == [(1, "Interrupted")]
    assert await scene.value("count(*) FROM worker") == 0


async def test_the_last_transaction_waits_for_a_claim_in_flight_and_frees_it_too(
    scene: Scene, registration: WorkerRegistration
) -> None:
    worker = await scene.worker()
    made = await scene.kick_off()
    async with scene.rival() as claim:
        await claim.run("SELECT 1 FROM worker WHERE id = :id FOR KEY SHARE", id=worker.id)
        await claim.run("UPDATE job SET worker_id = :me, attempt = 1, publish_at = NULL", me=worker.id)
        leaving = asyncio.create_task(asyncio.to_thread(registration.deregister, worker.id))
        await scene.until_blocked()
        await claim.commit()
    assert await leaving == 1
    assert (await scene.job(made.jobs[0].message.job_id))["worker_id"] is None


async def test_a_stale_attempt_of_the_dead_cannot_end_the_attempt_after_it(scene: Scene) -> None:
    dead, claims = await _holder(scene)
    rescuer = await scene.worker()
    await scene.silence(dead)
    await rescuer.rescue()
    again = await rescuer.claim(pointer_to(message_for(claims[0].orchestration_id)))
    assert await dead.settle(claims[0]) == "stale"
    assert await rescuer.settle(again) == "stored"
    assert (await scene.job(again.job_id))["attempt"] == 2
