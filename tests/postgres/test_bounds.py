"""What is kept of one job is bounded: its failed attempts and its repeated deliveries."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

from daemon.job import Claim, Failed, JobMessage, Refused
from daemon.postgres.statements import claims as claim_sql
from daemon.rules.lifecycle import RetryPolicy
from daemon.rules.retry import Backoff
from tests.postgres.scene import BOOM, Scene, message_for, messages_for, pointer_to
from tests.postgres.test_lock_order import assert_locks_in_order

STUBBORN = RetryPolicy(max_attempts=1_000_000, backoff=Backoff(initial=0, maximum=0, jitter=False))


async def test_the_first_five_and_the_last_ninety_five_failed_attempts_of_a_job_are_kept(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    await worker.settle(await worker.claim(message), Failed(BOOM), STUBBORN)
    for _ in range(119):
        await worker.settle(await worker.claim(pointer_to(message)), Failed(BOOM), STUBBORN)
    kept = [attempt for attempt, _ in await scene.history(message.job_id)]
    assert kept == [*range(1, 6), *range(26, 121)]
    row = await scene.job(message.job_id)
    assert (row["attempt"], row["failures"]) == (120, 120)


async def test_five_hundred_publishes_of_one_job_leave_twenty_redeliveries(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    copies = [replace(message, message_id=str(n)) for n in range(500)]
    answers = [*await worker.answers(*copies[:250]), *await worker.answers(*copies[250:])]
    assert sum(isinstance(answer, Claim) for answer in answers) == 1
    assert sum(isinstance(answer, Refused) for answer in answers) == 499
    rows = await scene.run("SELECT message_id FROM redelivery ORDER BY id")
    assert [row["message_id"] for row in rows] == [str(n) for n in range(1, 21)]


async def _remember(scene: Scene, messages: list[JobMessage]) -> None:
    """What a claim writes of messages that came again, alone: the claim before it has locked the jobs by then."""
    columns = {
        "job_ids": [message.job_id for message in messages],
        "causes": ["duplicate_publish"] * len(messages),
        "message_ids": [message.message_id for message in messages],
    }
    async with scene.engine.begin() as connection:
        await connection.execute(claim_sql.INSERT_REDELIVERIES, {"me": uuid4()} | columns)


async def test_redeliveries_lock_their_jobs_by_id(scene: Scene) -> None:
    """Seen by what deletes jobs: only that does not go with the lock of a reference."""
    worker, messages = await scene.worker(), messages_for(uuid4(), 20)
    await worker.answers(*messages)
    backwards = sorted(messages, key=lambda message: message.job_id, reverse=True)
    await assert_locks_in_order(scene, "job", lambda: _remember(scene, backwards), "FOR UPDATE")


async def test_a_redelivery_of_a_job_that_is_deleted_meanwhile_is_dropped_alone(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 2)
    await worker.answers(*messages)
    async with scene.rival() as pruning:
        await pruning.run("DELETE FROM job WHERE id = :id", id=messages[0].job_id)
        remembering = asyncio.create_task(_remember(scene, messages))
        await scene.until_blocked()
        await pruning.commit()
    await remembering
    assert [row["job_id"] for row in await scene.run("SELECT job_id FROM redelivery")] == [messages[1].job_id]
