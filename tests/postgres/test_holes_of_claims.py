"""The holes of claiming (H2, H3, H4, H7b, H12, H14): each rule next to what happens without it.

A race is orchestrated by a rival that holds a lock until the claim waits for it, never by timing.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from daemon.errors import WorkerGone, WorkerNotFresh
from daemon.job import Cause, Claim, Failed, JobMessage, Refusal, Refused
from tests.postgres.scene import BOOM, Scene, message_for, messages_for, pointer_to

ONE_STATEMENT = text("""
WITH o AS (
    INSERT INTO orchestration (id, job_name, total) VALUES (:orchestration_id, 'count', 2)
    ON CONFLICT (id) DO NOTHING RETURNING id
)
INSERT INTO job (id, orchestration_id, index, job_name, params, worker_id)
SELECT :id, orchestration.id, :index, 'count', '{}', :me FROM orchestration WHERE orchestration.id = :orchestration_id
RETURNING id
""")
JUDGES_LIVENESS = text("""
INSERT INTO job AS j (id, orchestration_id, index, job_name, params, worker_id, attempt)
VALUES (:id, :orchestration_id, 0, 'count', '{}', :me, 1)
ON CONFLICT (id) DO UPDATE SET attempt = j.attempt + 1, worker_id = excluded.worker_id, publish_at = NULL
WHERE j.worker_id IS NULL
   OR NOT EXISTS (SELECT FROM worker w WHERE w.id = j.worker_id AND w.seen_at > now() - interval '30 seconds')
RETURNING j.id
""")


async def test_claim_and_orchestration_in_one_statement_would_lose_the_job(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    async with scene.engine.begin() as connection:
        values = {"orchestration_id": orchestration, "id": uuid4(), "index": 0, "me": worker.id}
        inserted = (await connection.execute(ONE_STATEMENT, values)).all()
    assert inserted == []
    assert await scene.value("count(*) FROM job") == 0


async def test_a_job_is_claimed_although_another_worker_registers_its_orchestration_meanwhile(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    async with scene.rival() as rival:
        await rival.run("INSERT INTO orchestration (id, job_name, total) VALUES (:id, 'count', 2)", id=orchestration)
        claiming = asyncio.create_task(worker.answer(message_for(orchestration, 1, 2)))
        await scene.until_blocked()
        await rival.commit()
    claim = await claiming
    assert isinstance(claim, Claim)
    assert (claim.orchestration_id, claim.count) == (orchestration, 2)


async def test_the_loser_of_a_race_for_a_new_job_reads_its_holder_and_not_nothing(scene: Scene) -> None:
    first, second = await scene.worker(), await scene.worker()
    message = message_for(uuid4())
    await scene.run(
        "INSERT INTO orchestration (id, job_name, total) VALUES (:id, 'count', 1)", id=message.orchestration_id
    )
    async with scene.rival() as rival:  # its row, never committed, holds both back: neither of them sees a job
        born = """INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at)
                  VALUES (:id, :orchestration_id, 0, 'count', '{}', now())"""
        await rival.run(born, id=message.job_id, orchestration_id=message.orchestration_id)
        race = [asyncio.create_task(one.answer(message)) for one in (first, second)]
        await scene.until_blocked(2)
    answers = sorted(await asyncio.gather(*race), key=lambda answer: isinstance(answer, Claim))
    assert answers[0] == Refused(Refusal.CLAIMED, Cause.LEASE_EXPIRED)
    assert isinstance(answers[1], Claim)


async def test_only_the_row_says_that_this_worker_runs_the_job(scene: Scene) -> None:
    """H3: this worker was cut off and rescued; its own memory would ack the message that must run again."""
    cut_off, rescuer = await scene.worker(), await scene.worker()
    message = message_for(uuid4())
    first = await cut_off.claim(message)
    assert await cut_off.answer(message) == Refused(Refusal.CLAIMED, Cause.LEASE_EXPIRED)
    await scene.silence(cut_off)
    await rescuer.rescue()
    cut_off.id = (await scene.worker()).id
    again = await cut_off.claim(pointer_to(message))
    assert again.attempt == first.attempt + 1


async def _held_by_a_worker_whose_heartbeat_commits_late(scene: Scene, take: str) -> int:
    """The attempt of a job after a claim that waited while its living holder's heartbeat was committed."""
    holder, thief = await scene.worker(), await scene.worker()
    message = message_for(uuid4())
    await holder.claim(message)
    await scene.silence(holder)
    async with scene.rival() as rival:
        await rival.run("UPDATE worker SET seen_at = now() WHERE id = :id", id=holder.id)
        await rival.run("UPDATE job SET progress_at = now() WHERE id = :id", id=message.job_id)
        if take == "naive":
            claiming = asyncio.create_task(_naive_claim(scene, thief.id, message))
        else:
            claiming = asyncio.create_task(thief.answer(message))
        await scene.until_blocked()
        await rival.commit()
    await claiming
    return int((await scene.job(message.job_id))["attempt"])


async def _naive_claim(scene: Scene, me: UUID, message: JobMessage) -> None:
    async with scene.engine.begin() as connection:
        values = {"id": message.job_id, "orchestration_id": message.orchestration_id, "me": me}
        await connection.execute(JUDGES_LIVENESS, values)


async def test_a_claim_that_judged_liveness_would_steal_from_a_living_worker(scene: Scene) -> None:
    assert await _held_by_a_worker_whose_heartbeat_commits_late(scene, "naive") == 2


async def test_a_claim_that_waited_for_a_row_lock_takes_nothing_from_its_living_holder(scene: Scene) -> None:
    assert await _held_by_a_worker_whose_heartbeat_commits_late(scene, "ours") == 1


async def test_a_job_of_a_dead_worker_is_refused_as_held_until_it_is_rescued(scene: Scene) -> None:
    dead, worker = await scene.worker(), await scene.worker()
    message = message_for(uuid4())
    await dead.claim(message)
    await scene.silence(dead)
    assert await worker.answer(message) == Refused(Refusal.CLAIMED, Cause.LEASE_EXPIRED)
    assert (await scene.job(message.job_id))["losses"] == 0


async def test_a_claim_that_waited_for_a_settlement_takes_the_retry_or_says_why_not(scene: Scene) -> None:
    holder, other = await scene.worker(), await scene.worker()
    message = message_for(uuid4())
    await holder.claim(message)
    async with scene.rival() as rival:
        free = "UPDATE job SET worker_id = NULL, claim_token = NULL, publish_at = now() WHERE id = :id"
        await rival.run(free, id=message.job_id)
        claiming = asyncio.create_task(other.answer(message))
        await scene.until_blocked()
        await rival.commit()
    claim = await claiming
    assert isinstance(claim, Claim)
    assert claim.attempt == 2


async def test_a_worker_with_a_stale_heartbeat_claims_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.silence(worker, 16)
    with pytest.raises(WorkerNotFresh):
        await worker.answer(message_for(uuid4()))
    assert await scene.value("count(*) FROM job") == 0


async def test_a_worker_whose_row_is_gone_claims_nothing(scene: Scene) -> None:
    worker = await scene.worker()
    await scene.run("DELETE FROM worker")
    with pytest.raises(WorkerGone):
        await worker.answer(message_for(uuid4()))
    assert await scene.value("count(*) FROM job") == 0


async def test_one_new_job_twice_in_a_batch_would_fail_the_statement(scene: Scene) -> None:
    orchestration = (await scene.kick_off()).id
    twice = """INSERT INTO job AS j (id, orchestration_id, index, job_name, params, worker_id)
               SELECT i.id, :o, 5, 'x', '{}', :o FROM unnest(CAST(:ids AS uuid[])) AS i (id)
               ON CONFLICT (id) DO UPDATE SET attempt = j.attempt + 1"""
    with pytest.raises(DBAPIError, match="a second time"):
        await scene.run(twice, o=orchestration, ids=[uuid4()] * 2)


async def test_the_same_message_ten_times_in_a_batch_runs_once_and_is_acked_nine_times(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    other = replace(message, message_id="published twice")
    answers = await worker.answers(message, *[replace(message) for _ in range(8)], other)
    assert isinstance(answers[0], Claim)
    assert answers[1:9] == [Refused(Refusal.CLAIMED, Cause.LEASE_EXPIRED)] * 8
    assert answers[9] == Refused(Refusal.CLAIMED, Cause.DUPLICATE_PUBLISH)
    assert (await scene.job(message.job_id))["attempt"] == 1


async def test_answers_come_in_the_order_of_the_messages(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 20)
    answers = await worker.answers(*messages)
    assert [answer.index for answer in answers if isinstance(answer, Claim)] == list(range(20))


async def test_a_job_that_is_not_due_is_refused_and_keeps_its_date(scene: Scene) -> None:
    worker = await scene.worker()
    start = await scene.value("now() + interval '1 hour'")
    made = await scene.kick_off(start_at=start)
    message = made.jobs[0].message
    assert await worker.answer(message) == Refused(Refusal.NOT_DUE, Cause.DUPLICATE_PUBLISH)
    row = await scene.job(message.job_id)
    assert (row["publish_at"], row["worker_id"], row["attempt"]) == (start, None, 0)


async def test_due_is_judged_when_the_statement_runs_and_not_when_its_transaction_began(scene: Scene) -> None:
    """H14: a retry becomes due between the begin of a transaction and its claim statement."""
    worker = await scene.worker()
    message = message_for(uuid4())
    claim = await worker.claim(message)
    async with scene.rival() as early:
        await early.run("SELECT now()")
        await worker.settle(claim, Failed(BOOM))
        due = "not_before IS NULL OR not_before <= {} AS due FROM job WHERE id = :id"
        await scene.run("UPDATE job SET not_before = statement_timestamp(), publish_at = statement_timestamp()")
        by_begin = await early.run(f"SELECT {due.format('now()')}", id=message.job_id)
        by_statement = await early.run(f"SELECT {due.format('statement_timestamp()')}", id=message.job_id)
    assert (by_begin[0]["due"], by_statement[0]["due"]) == (False, True)
    assert isinstance(await worker.answer(message), Claim)
