"""Pausing a job name: its jobs are held back wherever they come from, and go on when it is resumed."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from daemon.doctor.unknown_jobs import check_paused
from daemon.errors import RequestRefused
from daemon.job import Claim, Refusal, Refused
from daemon.postgres.database import sync_engine
from daemon.postgres.pauses import Pauses
from daemon.postgres.permits import Permits
from daemon.rules.limits import Limit, limits_of
from tests.postgres.scene import Scene, message_for, pointer_to

LIMITED = Refused(Refusal.LIMITED)


@pytest.fixture
def pauses(scene: Scene) -> Pauses:
    return Pauses(scene.engine)


async def test_a_paused_job_is_parked_without_an_attempt_and_claimed_after_the_resume(
    scene: Scene, pauses: Pauses
) -> None:
    worker, made = await scene.worker(), await scene.kick_off(2)
    await pauses.pause("count", force=True)

    assert await worker.answers(*(pointer_to(one.message) for one in made.jobs)) == [LIMITED] * 2
    row = await scene.job(made.jobs[0].message.job_id)
    assert (row["attempt"], row["failures"], row["waits_limit"], row["waits_key"]) == (0, 0, "*paused", "count")
    assert [(one.job_name, one.waiting) for one in await pauses.paused()] == [("count", 2)]
    assert await Permits(scene.engine).wake() == 0

    assert await pauses.resume("count") == 2
    assert (await scene.job(row["id"]))["due"]
    assert (await worker.claim(pointer_to(made.jobs[0].message))).attempt == 1
    assert await scene.value("count(*) FROM permit") == 0


async def test_a_bare_message_of_a_paused_job_becomes_a_row_that_waits(scene: Scene, pauses: Pauses) -> None:
    worker, bare = await scene.worker(), message_for(uuid4())
    await pauses.pause("count", force=True)

    assert await worker.answer(bare) == LIMITED
    assert (await scene.job(bare.job_id))["waits_limit"] == "*paused"
    assert await pauses.resume("count") == 1


async def test_other_jobs_of_the_same_batch_are_claimed_and_running_ones_settle(scene: Scene, pauses: Pauses) -> None:
    worker = await scene.worker()
    running, other = (await scene.kick_off()).jobs[0].message, (await scene.kick_off(job_name="other")).jobs[0].message
    paused = (await scene.kick_off()).jobs[0].message
    claim = await worker.claim(pointer_to(running))
    await pauses.pause("count", force=True)

    answers = await worker.answers(pointer_to(other), pointer_to(paused))

    assert isinstance(answers[0], Claim)
    assert answers[1] == LIMITED
    await worker.settle(claim)
    assert (await scene.job(running.job_id))["status"] == "Completed"


async def test_what_is_paused_gives_the_permits_of_its_other_limits_back(scene: Scene, pauses: Pauses) -> None:
    worker = await scene.worker(limits_of("count", (Limit(1),)))
    first, second = [(await scene.kick_off()).jobs[0].message for _ in range(2)]
    claim = await worker.claim(pointer_to(first))
    assert await worker.answer(pointer_to(second)) == LIMITED
    await worker.settle(claim)
    assert await Permits(scene.engine).wake() == 1
    await pauses.pause("count", force=True)

    assert await worker.answer(pointer_to(second)) == LIMITED
    assert (await scene.job(second.job_id))["waits_limit"] == "*paused"
    assert await scene.value("count(*) FROM permit") == 0


async def test_a_claim_that_is_parking_a_job_is_waited_for_by_the_resume(scene: Scene, pauses: Pauses) -> None:
    worker, message = await scene.worker(), (await scene.kick_off()).jobs[0].message
    await pauses.pause("count", force=True)
    async with scene.rival() as holder:
        await holder.run("INSERT INTO limit_key (limit_name, key, size) VALUES ('*paused', 'count', 0)")
        parking = asyncio.create_task(worker.answer(pointer_to(message)))
        await scene.until_blocked()
        resuming = asyncio.create_task(pauses.resume("count"))
        await holder.commit()
        answer, woken = await parking, await resuming

    assert (isinstance(answer, Claim), woken) in ((True, 0), (False, 1))
    assert isinstance(answer, Claim) or (await scene.job(message.job_id))["due"]


async def test_a_name_that_no_worker_has_had_a_handler_of_is_refused_except_by_force(
    scene: Scene, pauses: Pauses
) -> None:
    await scene.run("INSERT INTO handler (name, revision, secrets) VALUES ('count', 'r1', '{}')")

    with pytest.raises(RequestRefused, match="named 'cuont'; handlers: count"):
        await pauses.pause("cuont")
    await pauses.pause("count")
    await pauses.pause("cuont", force=True)

    assert [one.job_name for one in await pauses.paused()] == ["count", "cuont"]


async def test_resuming_what_is_not_paused_names_what_is(scene: Scene, pauses: Pauses) -> None:
    await pauses.pause("count", force=True)
    with pytest.raises(RequestRefused, match="'cuont' is not paused; paused jobs: count"):
        await pauses.resume("cuont")


async def test_the_doctor_names_what_is_paused_and_the_command_that_resumes_it(scene: Scene, pauses: Pauses) -> None:
    await pauses.pause("count", force=True)
    engine = sync_engine(scene.url)
    with engine.connect() as connection:
        (finding,) = check_paused(connection)
    engine.dispose()

    assert finding.what.startswith("The job 'count' is paused since ")
    assert finding.fix == "headcount resume count"
