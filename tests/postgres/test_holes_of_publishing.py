"""The holes of publishing (H5, H8): the lease, and the dates that late writers must not touch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from daemon.job import Claim, Failed
from daemon.postgres.outbox import PUBLISHING_SECONDS, JobOutbox
from daemon.rules.lifecycle import RetryPolicy
from daemon.rules.retry import Backoff
from tests.postgres.scene import BOOM, Scene, Worker, message_for, pointer_to

HOUR = 3600.0
SLACK = 60.0  # a machine may stand still, and its clock be set; an hour is still told from now
LATER = RetryPolicy(5, Backoff(initial=60, maximum=60, jitter=False))
MARK = "UPDATE job SET publish_at = NULL WHERE id = :id AND status = 'InProgress'"


async def _due_job(scene: Scene) -> UUID:
    """A job that is due now."""
    made = await scene.kick_off()
    await scene.run("UPDATE job SET publish_at = now()")
    return made.jobs[0].message.job_id


async def _retried(scene: Scene, worker: Worker, job_id: UUID) -> None:
    """Claim a job and fail it, so that it has a new date a minute ahead."""
    row = await scene.job(job_id)
    claim = await worker.claim(pointer_to(message_for(row["orchestration_id"])))
    await worker.settle(claim, Failed(BOOM), LATER)


async def test_a_lease_dates_the_job_ahead_before_anything_is_published(scene: Scene) -> None:
    job_id, due = await _due_job(scene), JobOutbox(scene.engine, HOUR)
    leased = await due.lease(10)
    assert [one.message.job_id for one in leased] == [job_id]
    row = await scene.job(job_id)
    assert (row["publish_at"], row["publishes"]) == (leased[0].publish_at, 1)
    assert row["due_in"] == pytest.approx(PUBLISHING_SECONDS, abs=20)
    assert await due.lease(10) == []


async def test_a_relay_that_dies_after_its_lease_delays_the_job_by_half_a_minute_and_not_for_long(scene: Scene) -> None:
    job_id, due = await _due_job(scene), JobOutbox(scene.engine, HOUR)
    leased = await due.lease(10)
    assert (await scene.job(job_id))["due_in"] <= PUBLISHING_SECONDS
    await due.mark_published(leased)
    assert (await scene.job(job_id))["due_in"] == pytest.approx(HOUR, abs=SLACK)


async def test_a_refused_message_is_due_after_a_pause_that_grows_with_its_tries(scene: Scene) -> None:
    job_id, due = await _due_job(scene), JobOutbox(scene.engine, HOUR)
    for publishes, pause in ((0, 5), (1, 10), (3, 40), (30, 600)):
        await scene.run("UPDATE job SET publish_at = now(), publishes = :publishes", publishes=publishes)
        (leased,) = await due.lease(10)
        before = await scene.value("clock_timestamp()")
        await due.refuse(leased, "too long")
        row, after = await scene.job(job_id), await scene.value("clock_timestamp()")
        assert before <= row["publish_at"] - timedelta(seconds=pause) <= after
        assert (row["published_at"], row["publishes"]) == (None, publishes + 1)


async def test_a_refusal_that_comes_late_moves_no_other_date(scene: Scene) -> None:
    worker, due, job_id = await scene.worker(), JobOutbox(scene.engine, HOUR), await _due_job(scene)
    (leased,) = await due.lease(10)
    await _retried(scene, worker, job_id)
    before = await scene.job(job_id)
    await due.refuse(leased, "too long")
    assert (await scene.job(job_id))["publish_at"] == before["publish_at"]


async def test_a_late_confirmation_moves_no_other_date(scene: Scene) -> None:
    worker, due, job_id = await scene.worker(), JobOutbox(scene.engine, HOUR), await _due_job(scene)
    leased = await due.lease(10)
    claimed = await worker.claim(leased[0].message)
    await due.mark_published(leased)
    assert (await scene.job(job_id))["publish_at"] is None
    await worker.settle(claimed, Failed(BOOM), LATER)
    date = (await scene.job(job_id))["publish_at"]
    await due.mark_published(leased)
    await due.mark_published([replace(leased[0], publish_at=date)])  # the right date of an older attempt
    assert (await scene.job(job_id))["publish_at"] == date


async def test_a_leased_message_says_all_that_a_worker_needs(scene: Scene) -> None:
    made = await scene.kick_off(3, traceparent="00-1-2-01")
    await scene.run("UPDATE job SET publish_at = now() - index * interval '1 second'")
    leased = await JobOutbox(scene.engine, HOUR).lease(10)
    expected = {item.id: item.message for item in made.jobs}
    assert {one.message.job_id: one.message for one in leased} == expected


async def test_a_job_older_than_the_lease_waits_for_its_age_so_that_duplicates_are_logarithmic(scene: Scene) -> None:
    job_id = await _due_job(scene)
    await scene.run("UPDATE job SET created_at = now() - interval '8 hours'")
    due = JobOutbox(scene.engine, HOUR)
    await due.mark_published(await due.lease(10))
    assert (await scene.job(job_id))["due_in"] == pytest.approx(8 * HOUR, abs=SLACK)


async def test_two_relays_never_lease_one_job(scene: Scene) -> None:
    await scene.kick_off(40)
    await scene.run("UPDATE job SET publish_at = now()")
    due = JobOutbox(scene.engine, HOUR)
    leases = await asyncio.gather(*[due.lease(10) for _ in range(8)])
    ids = [one.message.job_id for leased in leases for one in leased]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(await due.lease(100)) == 40


async def test_a_relay_does_not_wait_for_a_row_that_somebody_holds(scene: Scene) -> None:
    job_id = await _due_job(scene)
    async with scene.rival() as rival:
        await rival.run("SELECT 1 FROM job WHERE id = :id FOR NO KEY UPDATE", id=job_id)
        async with asyncio.timeout(5):
            assert await JobOutbox(scene.engine, HOUR).lease(10) == []


async def test_a_late_mark_would_erase_the_retry_and_postgres_refuses_it(scene: Scene) -> None:
    worker, job_id = await scene.worker(), await _due_job(scene)
    await _retried(scene, worker, job_id)
    with pytest.raises(IntegrityError, match="job_has_a_future"):
        await scene.run(MARK, id=job_id)


@pytest.mark.parametrize(
    "without",
    ["publish_at = NULL", "publish_at = NULL, claim_token = NULL", "status = 'InProgress', publish_at = NULL"],
)
async def test_postgres_refuses_an_unfinished_job_without_a_future(scene: Scene, without: str) -> None:
    await _due_job(scene)
    with pytest.raises(IntegrityError, match="job_has_a_future"):
        await scene.run(f"UPDATE job SET {without}")


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("worker_id = gen_random_uuid()", "job_is_over"),
        ("publish_at = now()", "job_is_over"),
        ("finish_number = NULL", "job_has_a_place"),
        ("status = 'Lost'", "job_status"),
    ],
)
async def test_postgres_refuses_a_finished_job_that_goes_on(scene: Scene, change: str, constraint: str) -> None:
    worker = await scene.worker()
    await worker.settle(await worker.claim(message_for(uuid4())))
    with pytest.raises(IntegrityError, match=constraint):
        await scene.run(f"UPDATE job SET {change}")


async def test_postgres_refuses_a_message_published_before_its_job_may_start(scene: Scene) -> None:
    await _due_job(scene)
    with pytest.raises(IntegrityError, match="job_dates"):
        await scene.run("UPDATE job SET not_before = publish_at + interval '1 second'")


@pytest.mark.parametrize(
    "change",
    ["completed = 2", "errored = -1", "completed_at = now(), outcome = 'Completed'", "event_published_at = now()"],
)
async def test_postgres_refuses_counters_that_contradict_each_other(scene: Scene, change: str) -> None:
    await scene.kick_off()
    with pytest.raises(IntegrityError, match="orchestration_"):
        await scene.run(f"UPDATE orchestration SET {change}")


async def test_a_failed_publish_makes_the_job_due_at_once(scene: Scene) -> None:
    job_id, due = await _due_job(scene), JobOutbox(scene.engine, HOUR)
    await due.requeue(await due.lease(10))
    assert (await scene.job(job_id))["due"]


async def test_a_late_requeue_moves_no_newer_date(scene: Scene) -> None:
    worker, job_id, due = await scene.worker(), await _due_job(scene), JobOutbox(scene.engine, HOUR)
    leased = await due.lease(10)
    await _retried(scene, worker, job_id)
    date = (await scene.job(job_id))["publish_at"]
    await due.requeue(leased)
    assert (await scene.job(job_id))["publish_at"] == date
    await due.requeue([replace(leased[0], publish_at=date)])  # the right date of an older attempt
    assert (await scene.job(job_id))["publish_at"] == date


async def test_a_late_requeue_does_not_move_the_lease_of_another_relay(scene: Scene) -> None:
    job_id, due = await _due_job(scene), JobOutbox(scene.engine, HOUR)
    late = await due.lease(10)
    await scene.run("UPDATE job SET publish_at = now()")
    (newer,) = await due.lease(10)
    await due.requeue(late)
    assert (await scene.job(job_id))["publish_at"] == newer.publish_at


async def test_a_requeue_never_dates_a_scheduled_job_before_its_start(scene: Scene) -> None:
    start = await scene.value("now() + interval '1 hour'")
    made = await scene.kick_off(start_at=start)
    await JobOutbox(scene.engine, HOUR).requeue(made.jobs)
    assert (await scene.job(made.jobs[0].id))["publish_at"] == start


async def test_requeue_and_mark_first_published_leave_a_running_and_a_finished_job_alone(scene: Scene) -> None:
    worker, due = await scene.worker(), JobOutbox(scene.engine, HOUR)
    made = await scene.kick_off(2)
    claims = [await worker.claim(item.message) for item in made.jobs]
    await worker.settle(claims[0])
    await due.requeue(made.jobs)
    await due.mark_first_published(made.jobs)
    rows = [await scene.job(claim.job_id) for claim in claims]
    assert [(row["status"], row["publish_at"]) for row in rows] == [("Completed", None), ("InProgress", None)]
    assert rows[1]["worker_id"] == worker.id


async def test_the_fast_path_dates_what_it_published_far_ahead(scene: Scene) -> None:
    made = await scene.kick_off(2)
    before = [await scene.job(item.id) for item in made.jobs]
    assert all(row["due_in"] == pytest.approx(10, abs=SLACK) for row in before)
    await JobOutbox(scene.engine, HOUR).mark_first_published(made.jobs)
    after = [await scene.job(item.id) for item in made.jobs]
    assert [row["publishes"] for row in after] == [1, 1]
    assert all(row["due_in"] == pytest.approx(HOUR, abs=SLACK) for row in after)


async def test_a_late_first_mark_moves_neither_a_retry_nor_a_lease(scene: Scene) -> None:
    worker, due = await scene.worker(), JobOutbox(scene.engine, HOUR)
    made = await scene.kick_off(2)
    first, second = made.jobs
    await _retried(scene, worker, first.id)
    await scene.run("UPDATE job SET publish_at = now() WHERE id = :id", id=second.id)
    await due.lease(10)
    dates = [(await scene.job(item.id))["publish_at"] for item in (first, second)]
    await due.mark_first_published(made.jobs)
    assert [(await scene.job(item.id))["publish_at"] for item in (first, second)] == dates


async def test_a_first_mark_that_waited_for_a_claim_dates_nothing(scene: Scene) -> None:
    worker, due = await scene.worker(), JobOutbox(scene.engine, HOUR)
    made = await scene.kick_off()
    async with scene.rival() as rival:
        await rival.run("UPDATE job SET worker_id = :me, attempt = 1, publish_at = NULL", me=worker.id)
        marking = asyncio.create_task(due.mark_first_published(made.jobs))
        await scene.until_blocked()
        await rival.commit()
    await marking
    assert (await scene.job(made.jobs[0].id))["publish_at"] is None


async def test_no_lock_on_a_job_is_held_while_its_message_is_published(scene: Scene) -> None:
    """H8: the message arrives at a worker while its publisher has not come back from the network."""
    worker, due = await scene.worker(), JobOutbox(scene.engine, HOUR)
    await _due_job(scene)
    leased = await due.lease(10)
    async with asyncio.timeout(5):
        assert isinstance(await worker.answer(leased[0].message), Claim)


async def test_publishing_under_the_lock_would_stall_the_claim(scene: Scene) -> None:
    worker, job_id = await scene.worker(), await _due_job(scene)
    row = await scene.job(job_id)
    async with scene.rival() as publisher:
        await publisher.run("SELECT 1 FROM job FOR UPDATE SKIP LOCKED")
        claiming = asyncio.create_task(worker.answer(pointer_to(message_for(row["orchestration_id"]))))
        await scene.until_blocked()
    assert isinstance(await claiming, Claim)
