"""A job's orchestration has no foreign key: what its lock would do to settlements, and what keeps jobs from orphanhood.

A race is orchestrated by a rival that holds a lock until the other waits for it, never by timing; Postgres looks for
deadlocks after a second.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from daemon.job import Claim, JobMessage, Settled
from daemon.postgres.database import sqlstate
from daemon.postgres.statements import claims as claim_sql
from tests.postgres.scene import Rival, Scene, Worker, message_for, messages_for

ORPHANS = "count(*) FROM job j WHERE NOT EXISTS (SELECT FROM orchestration o WHERE o.id = j.orchestration_id)"
DEADLOCK = "40P01"


async def _key_share(rival: Rival, message: JobMessage, worker: Worker) -> None:
    """What the check of a foreign key does for every new job."""
    await rival.run("SELECT 1 FROM orchestration WHERE id = :id FOR KEY SHARE", id=message.orchestration_id)


async def _claim_in_flight(rival: Rival, message: JobMessage, worker: Worker) -> None:
    values = {
        "me": worker.id,
        "ids": [message.job_id],
        "tokens": [uuid4()],
        "orchestration_ids": [message.orchestration_id],
        "indexes": [message.index],
        "counts": [message.count],
        "names": [message.job_name],
        "params": [message.params],
        "message_ids": [message.message_id],
        "limited": [],
    }
    assert (await rival.connection.execute(claim_sql.CLAIM_JOBS, values)).all()


async def _two_settlements_wait_for_a_third(scene: Scene, beside: object) -> list[object]:
    worker, messages = await scene.worker(), messages_for(uuid4(), 3)
    claims = [await worker.claim(message) for message in messages[:2]]
    async with scene.rival() as claiming, scene.rival() as settling:
        assert callable(beside)
        await beside(claiming, messages[2], worker)
        counts = "UPDATE orchestration SET tags = tags WHERE id = :id"
        await settling.run(counts, id=messages[0].orchestration_id)
        waiting = [asyncio.create_task(worker.settle(claim)) for claim in claims]
        await scene.until_blocked(2)
        await settling.commit()
        return list(await asyncio.gather(*waiting, return_exceptions=True))


async def test_two_settlements_beside_a_foreign_keys_lock_would_deadlock(scene: Scene) -> None:
    ends = await _two_settlements_wait_for_a_third(scene, _key_share)
    (error,) = [end for end in ends if isinstance(end, BaseException)]
    assert sqlstate(error) == DEADLOCK


async def test_two_settlements_beside_a_claim_in_flight_are_both_stored(scene: Scene) -> None:
    assert await _two_settlements_wait_for_a_third(scene, _claim_in_flight) == [Settled.STORED, Settled.STORED]


async def _finished_long_ago(scene: Scene, worker: Worker) -> JobMessage:
    message = message_for(uuid4())
    await worker.settle(await worker.claim(message))
    await scene.run("UPDATE orchestration SET completed_at = now() - interval '1 hour', event_published_at = now()")
    return message


async def _claimed_while_it_is_pruned(scene: Scene) -> tuple[UUID, object]:
    """The last step of a prune: the orchestration goes together with a job of it that a claim waits for."""
    worker = await scene.worker()
    message = await _finished_long_ago(scene, worker)
    async with scene.rival() as pruning:
        await pruning.run("DELETE FROM job")
        await pruning.run("DELETE FROM orchestration")
        claiming = asyncio.create_task(worker.answer(replace(message, message_id="again")))
        await scene.until_blocked()
        await pruning.commit()
    return message.orchestration_id, await claiming


async def test_a_job_that_is_pruned_while_it_is_claimed_would_be_an_orphan(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_sql, "REQUIRE_ORCHESTRATIONS", text("SELECT 1 WHERE CAST(:ids AS uuid[]) = :tokens"))
    await _claimed_while_it_is_pruned(scene)
    assert await scene.value(ORPHANS) == 1


async def test_a_job_that_is_pruned_while_it_is_claimed_is_a_new_one(scene: Scene) -> None:
    orchestration, answer = await _claimed_while_it_is_pruned(scene)
    assert isinstance(answer, Claim)
    assert answer.attempt == 1
    assert await scene.value(ORPHANS) == 0
    assert (await scene.orchestration(orchestration))["completed_at"] is None
