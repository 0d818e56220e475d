"""Orchestrations with a parallelism: held back at their kick-off, so that no job is delivered before its turn."""

from __future__ import annotations

from uuid import UUID

from daemon.job import Claim, Refusal, Refused
from daemon.postgres.outbox import JobOutbox
from daemon.postgres.permits import Permits
from tests.postgres.scene import Scene, message_for, pointer_to

LIMITED = Refused(Refusal.LIMITED)


async def holders(scene: Scene) -> list[UUID]:
    return [row["job_id"] for row in await scene.run("SELECT job_id FROM permit ORDER BY given_at, job_id")]


async def test_only_the_first_are_published_and_each_end_publishes_the_next(scene: Scene) -> None:
    worker, made = await scene.worker(), await scene.kick_off(4, parallelism=2)

    assert [one.message.index for one in made.jobs] == [0, 1]
    claims = [await worker.claim(pointer_to(one.message)) for one in made.jobs]
    assert await Permits(scene.engine).wake() == 0

    await worker.settle(claims[0])
    assert await Permits(scene.engine).wake() == 1
    (due,) = await scene.run("SELECT id, index FROM job WHERE publish_at <= now()")
    assert set(await holders(scene)) == {claims[1].job_id, due["id"]}
    next_one = await worker.claim(pointer_to(message_for(made.id, due["index"], job_id=due["id"])))
    for claim in (claims[1], next_one):
        await worker.settle(claim)
    assert await Permits(scene.engine).wake() == 1


async def test_a_job_that_is_delivered_before_its_turn_is_parked(scene: Scene) -> None:
    worker, made = await scene.worker(), await scene.kick_off(3, parallelism=1)
    await scene.run("UPDATE job SET not_before = NULL, publish_at = now() WHERE index = 2")
    early = await scene.run("SELECT id FROM job WHERE index = 2")

    assert await worker.answer(pointer_to(message_for(made.id, 2, job_id=early[0]["id"]))) == LIMITED
    assert (await scene.job(early[0]["id"]))["waits_limit"] == "*parallelism"
    assert isinstance(await worker.answer(pointer_to(made.jobs[0].message)), Claim)


async def test_a_parallelism_beyond_the_total_holds_nothing_back(scene: Scene) -> None:
    made = await scene.kick_off(2, parallelism=5)
    assert len(made.jobs) == len(await holders(scene)) == 2
    assert not await scene.value("count(*) FROM job WHERE waits_limit IS NOT NULL")


async def test_cancelling_leaves_no_permit_behind(scene: Scene) -> None:
    made = await scene.kick_off(4, parallelism=2)
    await scene.terminations.cancel(made.id)
    await scene.end(made.id)
    assert await holders(scene) == []
    assert (await scene.orchestration(made.id))["outcome"] == "Errored"


async def test_orchestrations_without_one_are_claimed_beside_it(scene: Scene) -> None:
    worker, bounded, free = await scene.worker(), await scene.kick_off(2, parallelism=1), await scene.kick_off(2)
    messages = [pointer_to(one.message) for one in (*bounded.jobs, *free.jobs)]

    assert all(isinstance(answer, Claim) for answer in await worker.answers(*messages))


async def test_a_job_with_a_permit_is_published_again_soon_for_the_worker_that_has_its_message_may_be_dead(
    scene: Scene,
) -> None:
    made, outbox = await scene.kick_off(2, parallelism=1), JobOutbox(scene.engine, republish_after=3600.0)
    first = made.jobs[0].message.job_id

    await outbox.mark_first_published(made.jobs)
    assert 9 < (await scene.job(first))["due_in"] <= 10

    await scene.run("UPDATE job SET publish_at = now() WHERE id = :id", id=first)
    await outbox.mark_published(await outbox.lease(10))
    assert 19 < (await scene.job(first))["due_in"] <= 20
