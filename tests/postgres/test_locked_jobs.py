"""Claims that meet a row that somebody else holds for long: the others go on, and nothing is split or given back."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from daemon.job import Claim, ClaimAnswer, Refused, TryAgain
from daemon.postgres.claims import ClaimRequest
from daemon.postgres.database import async_engine
from daemon.postgres.group_commit import GroupCommit
from tests.fakes.observer import Listening
from tests.harness.waiting import until
from tests.postgres.scene import Scene, Worker, message_for, messages_for, pointer_to

HOLD = "SELECT FROM job WHERE id = :id FOR UPDATE"


async def test_a_held_row_leaves_one_message_undecided_and_the_rest_of_its_batch_is_claimed(scene: Scene) -> None:
    worker, made = await scene.worker(), await scene.kick_off(3)
    messages = [pointer_to(item.message) for item in made.jobs]
    async with scene.rival() as rival:
        await rival.run(HOLD, id=messages[1].job_id)
        answers = await worker.answers(*messages, message_for(uuid4()))
    assert [type(one) for one in answers] == [Claim, TryAgain, Claim, Claim]
    assert isinstance(await worker.answer(messages[1]), Claim)


async def test_two_messages_of_a_held_job_are_both_undecided(scene: Scene) -> None:
    worker, made = await scene.worker(), await scene.kick_off(2)
    held, free = (pointer_to(item.message) for item in made.jobs)
    async with scene.rival() as rival:
        await rival.run(HOLD, id=held.job_id)
        answers = await worker.answers(held, free, pointer_to(held), pointer_to(free))
    assert [type(one) for one in answers] == [TryAgain, Claim, TryAgain, Refused]


async def test_a_table_that_is_locked_means_that_the_database_is_away_and_no_batch_is_split(scene: Scene) -> None:
    engine = async_engine(scene.url, 2, hangs_up=True)  # as workers have it: preparing a statement takes locks too
    worker, messages = Worker((await scene.worker()).id, engine), messages_for(uuid4(), 2)
    await scene.run("UPDATE worker SET seen_at = now() + interval '1 hour'")  # however long this takes
    away: list[bool] = []
    heard = Listening()
    lane: GroupCommit[ClaimRequest, ClaimAnswer] = GroupCommit(
        "claim", worker.asked, heard, on_unavailable=lambda is_away: away.append(is_away)
    )
    running = asyncio.create_task(lane.run())
    async with scene.rival() as rival:
        await rival.run("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        asked = [lane.submit(ClaimRequest(message)) for message in messages]
        await until(lambda: away == [True], within=30, what="the database counts as away")
        assert not any(one.done() for one in asked)
    assert [type(one) for one in await asyncio.gather(*asked)] == [Claim, Claim]
    assert (away, heard.all("batch_split"), heard.all("item_rejected")) == ([True, False], [], [])
    running.cancel()
    await asyncio.wait([running])
    await worker.claims.pinned.close()
    await engine.dispose()


async def test_one_stuck_row_of_a_dead_worker_does_not_hold_up_the_rescue_of_another(scene: Scene) -> None:
    judge, stuck, other = await scene.worker(), await scene.worker(), await scene.worker()
    for dead in (stuck, other):
        await dead.claim(message_for(uuid4()))
        await scene.silence(dead)
    async with scene.rival() as rival:
        await rival.run("SELECT FROM worker WHERE id = :id FOR KEY SHARE", id=stuck.id)
        async with asyncio.timeout(20):
            assert [(one.worker_id, one.freed) for one in await judge.rescue()] == [(other.id, 1)]
            assert await judge.rescue() == []
    assert [(one.worker_id, one.freed) for one in await judge.rescue()] == [(stuck.id, 1)]
