"""Cancels and deadlines in slices: fair, bounded, and never against a generation that they do not mean."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from daemon.job import Failed, Refusal, Refused, Settled
from daemon.orchestration import TerminatedSlice
from daemon.postgres import terminations as module
from daemon.postgres.terminations import SLICE, Terminations
from tests.postgres.scene import BOOM, Scene, message_for, messages_for, pointer_to, registration_of

OVERDUE = "UPDATE orchestration SET deadline = now() - interval '1 second' WHERE id = :id"
GIANT = "INSERT INTO orchestration (id, job_name, total, cancelled_at) VALUES (:id, 'count', :total, now())"


async def _giant(scene: Scene, total: int) -> UUID:
    """An orchestration of so many instances, cancelled before any of their messages came."""
    giant = uuid4()
    await scene.run(GIANT, id=giant, total=total)
    return giant


async def test_a_slice_is_bounded_and_each_visits_new_indexes(scene: Scene) -> None:
    giant = await _giant(scene, 3 * SLICE + 1)
    seen = []
    while (part := await scene.terminations.next_slice()).worked:
        seen.append((part.ended, (await scene.orchestration(giant))["closed_below"], part.completes))
    assert seen == [(SLICE, SLICE, False), (SLICE, 2 * SLICE, False), (SLICE, 3 * SLICE, False), (1, 3 * SLICE, True)]
    whole = await scene.orchestration(giant)
    assert (whole["errored"], whole["outcome"]) == (3 * SLICE + 1, "Errored")


async def test_a_small_orchestration_is_ended_before_the_rest_of_a_giant_and_the_giant_still_gets_its_turn(
    scene: Scene,
) -> None:
    giant = await _giant(scene, 100 * SLICE)
    small = await scene.kick_off(3)
    await scene.run(OVERDUE, id=small.id)
    part = await scene.terminations.next_slice()
    assert part.by_deadline == {small.id: 3}
    assert (await scene.orchestration(small.id))["outcome"] == "Errored"
    for _ in range(3):
        await scene.run(OVERDUE, id=(await scene.kick_off(1)).id)
        await scene.terminations.next_slice(longest_due=True)
    assert (await scene.orchestration(giant))["closed_below"] > 3 * SLICE - 10


async def test_many_small_orchestrations_are_ended_in_one_slice(scene: Scene) -> None:
    made = [await scene.kick_off(2) for _ in range(50)]
    await scene.run("UPDATE orchestration SET deadline = now() - interval '1 second'")
    part = await scene.terminations.next_slice()
    assert part.by_deadline == {one.id: 2 for one in made}


async def test_two_workers_do_not_end_the_same_slice(scene: Scene) -> None:
    giant = await _giant(scene, 2 * SLICE)
    async with scene.rival() as other:
        await other.run(
            "SELECT pg_advisory_xact_lock(:key, hashtext(CAST(:id AS text)))", key=module.SLICE_LOCK, id=str(giant)
        )
        assert not (await scene.terminations.next_slice()).worked
    assert (await scene.terminations.next_slice()).ended == SLICE


async def test_an_old_list_ends_nothing_of_the_next_generation(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker picks an overdue orchestration and is held up. Meanwhile it completes by itself, its event is published,
    and the operator retries it: the new generation has no deadline."""
    worker = await scene.worker()
    messages = messages_for(uuid4(), 2)
    claims = [await worker.claim(message) for message in messages]
    orchestration = messages[0].orchestration_id
    await scene.run(OVERDUE, id=orchestration)

    class HeldUp(Terminations):
        async def _settle(self, connection, ranges):  # type: ignore[no-untyped-def]
            for claim in claims:
                await worker.settle(claim, Failed(BOOM, final=True))
            await scene.run("UPDATE orchestration SET event_published_at = now()")
            assert await scene.retries.retry_failed(orchestration) == 2
            return await super()._settle(connection, ranges)

    await HeldUp(scene.engine).slice_of(orchestration)
    assert await scene.end(orchestration) == 0
    rows = await scene.run("SELECT status, error FROM job")
    assert [(row["status"], row["error"]) for row in rows] == [("InProgress", None)] * 2
    assert (await scene.orchestration(orchestration))["generation"] == 2


async def test_a_placeholder_made_for_an_old_generation_is_taken_back(scene: Scene) -> None:
    """The last instance is missing when the slice looks; its message comes, all fails, and a retry reopens it."""
    worker, orchestration = await scene.worker(), uuid4()
    (first, last) = messages_for(orchestration, 2)
    claim = await worker.claim(first)
    await scene.run(OVERDUE, id=orchestration)

    class HeldUp(Terminations):
        async def _insert_missing(self, connection, ranges):  # type: ignore[no-untyped-def]
            await scene.run("UPDATE orchestration SET deadline = NULL")
            other = await worker.claim(last)
            for one in (claim, other):
                await worker.settle(one, Failed(BOOM, final=True))
            await scene.run("UPDATE orchestration SET event_published_at = now()")
            await scene.retries.retry_failed(orchestration)
            return await super()._insert_missing(connection, ranges)

    await HeldUp(scene.engine).slice_of(orchestration)
    assert await scene.value("count(*) FROM job WHERE status = 'InProgress'") == 2


async def test_a_job_that_is_claimed_while_its_slice_is_settled_is_ended_by_the_next(scene: Scene) -> None:
    worker = await scene.worker()
    made = await scene.kick_off(2)
    message = made.jobs[0].message

    class HeldUp(Terminations):
        async def _insert_missing(self, connection, ranges):  # type: ignore[no-untyped-def]
            return None

        async def _settle(self, connection, ranges):  # type: ignore[no-untyped-def]
            async with scene.rival() as claim:
                take = "UPDATE job SET attempt = attempt + 1, worker_id = :me, publish_at = NULL WHERE id = :id"
                await claim.run(take, me=worker.id, id=message.job_id)
                settling = asyncio.create_task(super()._settle(connection, ranges))
                await scene.until_blocked()
                await claim.commit()
            return await settling

    await scene.run(OVERDUE, id=made.id)
    assert (await HeldUp(scene.engine).slice_of(made.id)).ended == 1
    assert (await scene.orchestration(made.id))["closed_below"] == 0
    assert await scene.end(made.id) == 1


async def test_a_job_that_is_ended_while_it_runs_is_not_claimed_again_before_its_handler_has_ended(
    scene: Scene,
) -> None:
    worker, other, message = await scene.worker(), await scene.worker(), message_for(uuid4())
    old = await worker.claim(message)
    await scene.terminations.cancel(message.orchestration_id)
    await scene.run("UPDATE orchestration SET event_published_at = now()")
    await scene.retries.retry_failed(message.orchestration_id)
    row = await scene.job(message.job_id)
    assert (row["status"], row["occupied_by"], row["due"]) == ("InProgress", worker.id, False)
    answer = await other.answer(pointer_to(message))
    assert isinstance(answer, Refused)
    assert answer.why is Refusal.NOT_DUE
    registration = registration_of(scene)
    holdings = await asyncio.to_thread(registration.claimed_jobs, worker.id)
    assert (holdings.claimed, holdings.occupied) == (frozenset(), frozenset({message.job_id}))
    await asyncio.to_thread(registration.vacate, worker.id, [message.job_id])
    assert (await scene.job(message.job_id))["due"]
    again = await other.claim(pointer_to(message))
    assert (again.attempt, await worker.settle(old)) == (3, Settled.STALE)


@pytest.mark.parametrize("how", ["dies", "deregisters"])
async def test_what_a_worker_occupied_is_free_when_the_worker_is_gone(scene: Scene, how: str) -> None:
    worker, other, message = await scene.worker(), await scene.worker(), message_for(uuid4())
    await worker.claim(message)
    await scene.terminations.cancel(message.orchestration_id)
    await scene.run("UPDATE orchestration SET event_published_at = now()")
    await scene.retries.retry_failed(message.orchestration_id)
    if how == "dies":
        await scene.silence(worker)
        await other.rescue()
        assert (await scene.job(message.job_id))["due"]
    else:
        await asyncio.to_thread(registration_of(scene).deregister, worker.id, 3.0)
        row = await scene.job(message.job_id)
        assert row["not_before"] == row["publish_at"]
        assert 1.0 < row["due_in"] <= 3.0, "a thread of it may run until the process has ended"
    assert (await scene.job(message.job_id))["occupied_by"] is None


async def test_a_cancel_is_over_with_its_own_generation_although_the_next_one_has_begun(scene: Scene) -> None:
    """A worker ends the last slice; before the cancel looks again, the event is out and an operator has retried."""
    made = await scene.kick_off(2)

    class Overtaken(Terminations):
        async def slice_of(self, orchestration_id: UUID) -> TerminatedSlice:
            await Terminations(scene.engine).slice_of(orchestration_id)
            await scene.run("UPDATE orchestration SET event_published_at = now()")
            assert await scene.retries.retry_failed(orchestration_id) == 2
            return await super().slice_of(orchestration_id)

    async with asyncio.timeout(10):
        assert await Overtaken(scene.engine).cancel(made.id) == 0
    assert (await scene.orchestration(made.id))["generation"] == 2
