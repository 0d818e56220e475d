"""The holes of cancel, deadline and the operator's retry (H10, H13c, H13d): ended from outside, and run again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from daemon.errors import OrchestrationNotFound, RequestRefused
from daemon.job import Claim, Conflict, Failed, Refusal, Refused, Settled
from daemon.orchestration import Outcome, TerminatedSlice
from daemon.postgres.outbox import EventOutbox
from daemon.postgres.queries import Queries
from daemon.postgres.rejections import Rejection, Rejections
from daemon.postgres.terminations import Terminations
from daemon.rules.messages import instance_id
from tests.postgres.scene import BOOM, TTL, Scene, Worker, message_for, messages_for, pointer_to, registration_of

UNFENCED_MARK = "UPDATE orchestration SET event_published_at = now() WHERE id = :id"


async def _failed(scene: Scene, worker: Worker, count: int = 2) -> UUID:
    """A complete orchestration of which all but the first instance failed."""
    messages = messages_for(uuid4(), count)
    for message in messages:
        claim = await worker.claim(message)
        await worker.settle(claim, Failed(BOOM, final=True) if message.index else None)
    return messages[0].orchestration_id


async def test_a_retry_is_refused_until_the_event_before_it_is_published(scene: Scene) -> None:
    orchestration = await _failed(scene, await scene.worker())
    with pytest.raises(RequestRefused, match="not published yet"):
        await scene.retries.retry_failed(orchestration)
    assert [one.generation for one in await scene.publish_events()] == [1]
    assert await scene.retries.retry_failed(orchestration) == 1


async def test_a_retry_runs_what_failed_as_a_new_generation_with_an_event_of_its_own(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await _failed(scene, worker, 3)
    await scene.publish_events()
    assert await scene.retries.retry_failed(orchestration) == 2
    whole = await scene.orchestration(orchestration)
    assert (whole["generation"], whole["completed"], whole["errored"], whole["outcome"]) == (2, 1, 0, None)
    assert (whole["completed_at"], whole["event_published_at"]) == (None, None)
    for index in (1, 2):
        row = await scene.job(instance_id(orchestration, index))
        assert (row["attempt"], row["failures"], row["losses"], row["due"], row["error"]) == (2, 0, 0, True, None)
        claim = await worker.claim(pointer_to(message_for(orchestration, index, 3)))
        assert (claim.attempt, claim.cause) == (3, "operator")
        await worker.settle(claim)
    assert [(one.generation, one.outcome) for one in await scene.publish_events()] == [(2, Outcome.COMPLETED)]


async def test_what_succeeded_is_not_run_again(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await _failed(scene, worker)
    await scene.publish_events()
    await scene.retries.retry_failed(orchestration)
    answer = await worker.answer(pointer_to(message_for(orchestration, 0, 2)))
    assert isinstance(answer, Refused)
    assert answer.why is Refusal.FINISHED


@pytest.mark.parametrize("fenced", [False, True])
async def test_a_late_mark_of_the_old_generation_must_not_swallow_the_new_event(scene: Scene, fenced: bool) -> None:
    worker, due = await scene.worker(), EventOutbox(scene.engine)
    orchestration = await _failed(scene, worker)
    late = await due.lease(10)
    # Somebody else publishes generation 1 as well, the operator retries, and generation 2 completes meanwhile.
    await scene.run("UPDATE orchestration SET event_published_at = now()")
    await scene.retries.retry_failed(orchestration)
    await worker.settle(await worker.claim(pointer_to(message_for(orchestration, 1, 2))))
    if fenced:
        await due.mark_published(late)
    else:
        await scene.run(UNFENCED_MARK, id=orchestration)
    assert len(await scene.publish_events()) == fenced


async def test_a_retry_is_refused_while_a_relay_has_the_event(scene: Scene) -> None:
    orchestration, due = await _failed(scene, await scene.worker()), EventOutbox(scene.engine)
    leased = await due.lease(10)
    with pytest.raises(RequestRefused, match="not published yet"):
        await scene.retries.retry_failed(orchestration)
    await due.mark_published(leased)
    assert await scene.retries.retry_failed(orchestration) == 1


async def test_an_event_that_was_given_up_counts_as_published_for_a_retry_and_leaves_the_next_one_alone(
    scene: Scene,
) -> None:
    worker, due = await scene.worker(), EventOutbox(scene.engine)
    orchestration = await _failed(scene, worker)
    await scene.run("UPDATE orchestration SET event_refusals = 9")
    (leased,) = await due.lease(10)
    await due.refuse(leased, "too long")
    assert (await scene.orchestration(orchestration))["event_refused"] == "too long"
    assert await scene.retries.retry_failed(orchestration) == 1
    again = await scene.orchestration(orchestration)
    assert (again["event_refused"], again["event_refusals"], again["event_publish_at"]) == (None, 0, None)
    await worker.settle(await worker.claim(pointer_to(message_for(orchestration, 1, 2))))
    assert [one.generation for one in await scene.publish_events()] == [2]


async def test_an_unfinished_an_unknown_and_a_flawless_orchestration_are_not_retried(scene: Scene) -> None:
    worker = await scene.worker()
    flawless = await _failed(scene, worker, 1)
    await scene.publish_events()
    assert await scene.retries.retry_failed(flawless) == 0
    assert (await scene.orchestration(flawless))["generation"] == 1
    with pytest.raises(RequestRefused, match="not finished"):
        await scene.retries.retry_failed((await scene.kick_off()).id)
    with pytest.raises(OrchestrationNotFound):
        await scene.retries.retry_failed(uuid4())


async def test_a_settlement_of_the_old_generation_writes_nothing_into_the_new_one(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    old = await worker.claim(message)
    await scene.terminations.cancel(message.orchestration_id)
    await scene.publish_events()
    await scene.retries.retry_failed(message.orchestration_id)
    await asyncio.to_thread(registration_of(scene).vacate, worker.id, [message.job_id])
    again = await worker.claim(pointer_to(message))
    assert await worker.settle(old) is Settled.STALE
    assert await worker.settle(again) is Settled.STORED


async def test_a_cancel_ends_waiting_running_and_unborn_instances(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    done = await worker.claim(message_for(orchestration, 0, 5))
    await worker.settle(done)
    running = await worker.claim(message_for(orchestration, 1, 5))
    waiting = await worker.claim(message_for(orchestration, 2, 5))
    await worker.settle(waiting, Failed(BOOM))
    assert await scene.terminations.cancel(orchestration) == 4
    whole = await scene.orchestration(orchestration)
    assert (whole["completed"], whole["errored"], whole["outcome"]) == (1, 4, "Partial")
    kinds = await scene.run("SELECT index, error ->> 'kind' AS kind FROM job ORDER BY index")
    assert [row["kind"] for row in kinds] == [None] + ["Cancelled"] * 4
    assert await worker.settle(running) is Settled.STALE
    assert await scene.history(running.job_id) == [(1, "Cancelled")]
    assert await scene.terminations.cancel(orchestration) == 0


async def test_a_cancel_tells_what_it_ended_although_the_closer_of_a_worker_was_quicker(scene: Scene) -> None:
    made = await scene.kick_off(3)

    class Second(Terminations):
        async def slice_of(self, orchestration_id: UUID) -> TerminatedSlice:
            assert (await Terminations(scene.engine).slice_of(orchestration_id)).ended == 3
            return await super().slice_of(orchestration_id)

    scene.terminations = Second(scene.engine)
    assert await scene.terminations.cancel(made.id) == 3
    assert await scene.terminations.cancel(made.id) == 0


async def test_a_late_message_of_a_cancelled_instance_is_finished_and_acked(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    await worker.claim(message_for(orchestration, 0, 3))
    await scene.terminations.cancel(orchestration)
    derived = await worker.answer(message_for(orchestration, 1, 3))
    of_its_own = await worker.answer(message_for(orchestration, 2, 3, job_id=uuid4()))
    assert [answer.why for answer in (derived, of_its_own) if isinstance(answer, Refused)] == [Refusal.FINISHED] * 2


async def test_a_message_between_a_cancel_and_its_placeholders_is_neither_run_nor_acked(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    await worker.claim(message_for(orchestration, 0, 3))
    await scene.run("UPDATE orchestration SET cancelled_at = now()")
    assert type(await worker.answer(message_for(orchestration, 1, 3))).__name__ == "TryAgain"
    made = await scene.kick_off()
    await scene.run("UPDATE orchestration SET cancelled_at = now()")
    answer = await worker.answer(made.jobs[0].message)
    assert isinstance(answer, Refused)
    assert answer.why is Refusal.CLOSING


@pytest.mark.parametrize("own_id", [False, True])
async def test_an_instance_born_concurrently_with_a_cancel_is_ended_too(scene: Scene, own_id: bool) -> None:
    """The claim began before the cancel and commits in the middle of it."""
    worker, orchestration = await scene.worker(), uuid4()
    await worker.claim(message_for(orchestration, 0, 3))
    born = uuid4() if own_id else instance_id(orchestration, 1)
    async with scene.rival() as claim:
        row = """INSERT INTO job (id, orchestration_id, index, job_name, params, attempt, worker_id)
                 VALUES (:id, :orchestration, 1, 'count', '{}', 1, :me)"""
        await claim.run(row, id=born, orchestration=orchestration, me=worker.id)
        cancelling = asyncio.create_task(scene.terminations.cancel(orchestration))
        await scene.until_blocked()
        await claim.commit()
    assert await cancelling == 3
    assert (await scene.job(born))["error"]["kind"] == "Cancelled"
    whole = await scene.orchestration(orchestration)
    assert (whole["errored"], whole["outcome"], await scene.value("count(*) FROM job")) == (3, "Errored", 3)


async def test_a_passed_deadline_ends_what_is_unfinished_and_lets_nothing_begin(scene: Scene) -> None:
    worker = await scene.worker()
    made = await scene.kick_off(3, deadline_seconds=60)
    claim = await worker.claim(made.jobs[0].message)
    assert claim.deadline_in == pytest.approx(60, abs=5)
    assert await scene.end(made.id) == 0
    await scene.run("UPDATE orchestration SET deadline = now() - interval '1 second'")
    answer = await worker.answer(made.jobs[1].message)
    assert isinstance(answer, Refused)
    assert answer.why is Refusal.CLOSING
    assert await scene.end(made.id) == 3
    assert (await scene.job(claim.job_id))["error"]["kind"] == "DeadlineExceeded"


async def test_a_cancel_that_was_left_half_way_is_found(scene: Scene) -> None:
    made = await scene.kick_off(2)
    await scene.run("UPDATE orchestration SET cancelled_at = now()")
    assert (await scene.terminations.next_slice()).ended == 2
    assert not (await scene.terminations.next_slice()).worked
    assert (await scene.orchestration(made.id))["outcome"] == "Errored"


async def test_ending_an_orchestration_ends_although_somebody_took_the_id_of_a_missing_instance(scene: Scene) -> None:
    """A producer used the id that is derived for index 1 as the job_id of index 2."""
    worker, orchestration = await scene.worker(), uuid4()
    await worker.claim(message_for(orchestration, 2, 3, job_id=instance_id(orchestration, 1)))
    async with asyncio.timeout(5):
        assert await scene.terminations.cancel(orchestration) == 3
    assert (await scene.orchestration(orchestration))["errored"] == 3


async def test_the_first_message_fixes_the_count_and_the_name(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    await worker.claim(message_for(orchestration, 0, 3))
    base = message_for(orchestration, 1, 3)
    reasons = {
        "CountMismatch": replace(base, count=4),
        "NameMismatch": replace(base, job_name="other"),
        "IndexOutOfRange": message_for(orchestration, 7, 9),
        "IndexTaken": message_for(orchestration, 0, 3, job_id=uuid4()),
        "JobElsewhere": message_for(uuid4(), 0, 1, job_id=instance_id(orchestration, 0)),
        "NoSuchJob": pointer_to(message_for(uuid4())),
        "CountMissing": message_for(uuid4(), 0, None),
    }
    for reason, message in reasons.items():
        answer = await worker.answer(message)
        assert isinstance(answer, Conflict), answer
        assert answer.reason == reason
    assert isinstance(await worker.answer(replace(base, count=None)), Claim)
    assert (await scene.orchestration(orchestration))["total"] == 3


async def test_a_message_that_disagrees_uses_up_no_instance_and_is_named_until_the_right_one_has_come(
    scene: Scene,
) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    for index in (0, 1):
        await worker.settle(await worker.claim(message_for(orchestration, index, 3)))
    wrong = message_for(orchestration, 2, 7)
    assert isinstance(await worker.answer(wrong), Conflict)
    ids = {"orchestration_id": str(orchestration), "index": "2", "count": "7", "job_name": "count"}
    rejection = Rejection(wrong.message_id, "CountMismatch", "count is 7, registered are 3", b"{}", ids, 0.0, None)
    assert await Rejections(scene.engine).write([rejection]) == [False]
    found = (await Queries(scene.engine, TTL).explain(orchestration)).verdicts
    assert [(one.word, one.count) for one in found] == [("NOT_YET_ARRIVED", 1), ("MESSAGES_REJECTED", 1)]
    assert found[1].rejected[0].reason == "CountMismatch"
    await worker.settle(await worker.claim(message_for(orchestration, 2, 3)))
    assert (await scene.orchestration(orchestration))["outcome"] == "Completed"


async def test_an_orchestration_of_nothing_completes_at_once(scene: Scene) -> None:
    made = await scene.kick_off(0)
    state = await scene.orchestrations.state(made.id)
    assert (state.total, state.outcome, state.completed_at is not None) == (0, Outcome.COMPLETED, True)
    assert [one.total for one in await scene.publish_events()] == [0]
