"""Messages that come after their instance was ended without them: a retry runs them with their own params."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from daemon.job import Failed, JobMessage, Refusal, Refused
from daemon.observe import Observer
from daemon.postgres.outbox import JobOutbox
from daemon.postgres.rejections import Rejection, Rejections
from daemon.postgres.store import Store
from daemon.rules.messages import instance_id
from tests.postgres.scene import BOOM, TTL, Scene, Worker, message_for, messages_for, pointer_to


async def _publish_event(scene: Scene) -> None:
    assert len(await scene.publish_events()) == 1


async def _cancelled(scene: Scene, worker: Worker, count: int = 2) -> UUID:
    """An orchestration of which only instance 0 came before it was cancelled; its event is published."""
    orchestration = uuid4()
    await worker.settle(await worker.claim(message_for(orchestration, 0, count)), Failed(BOOM, final=True))
    assert await scene.terminations.cancel(orchestration) == count - 1
    await _publish_event(scene)
    return orchestration


def _late(orchestration: UUID, own_id: bool) -> JobMessage:
    changes = {"job_id": uuid4()} if own_id else {}
    return message_for(orchestration, 1, 2, params='{"n": 7}', **changes)


@pytest.mark.parametrize("own_id", [False, True])
async def test_a_retried_instance_whose_message_never_came_waits_for_it_and_runs_with_its_params(
    scene: Scene, own_id: bool
) -> None:
    worker = await scene.worker()
    orchestration = await _cancelled(scene, worker)
    assert await scene.retries.retry_failed(orchestration) == 2
    leased = await JobOutbox(scene.engine, 3600).lease(10)
    assert [one.message.index for one in leased] == [0], "nothing is published for what nobody has sent"
    await worker.settle(await worker.claim(leased[0].message))
    claim = await worker.claim(_late(orchestration, own_id))
    assert (claim.params, claim.attempt) == ('{"n": 7}', 1)
    await worker.settle(claim)
    whole = await scene.orchestration(orchestration)
    assert (whole["completed"], whole["errored"], whole["outcome"]) == (2, 0, "Completed")


@pytest.mark.parametrize("own_id", [False, True])
async def test_a_message_that_comes_between_the_end_and_the_retry_leaves_its_params(scene: Scene, own_id: bool) -> None:
    worker = await scene.worker()
    orchestration = await _cancelled(scene, worker)
    answer = await worker.answer(_late(orchestration, own_id))
    assert isinstance(answer, Refused)
    assert answer.why is Refusal.FINISHED
    assert await scene.retries.retry_failed(orchestration) == 2
    claim = await worker.claim(pointer_to(message_for(orchestration, 1, 2)))
    assert claim.params == '{"n": 7}'


async def test_a_message_of_a_cancelled_orchestration_goes_back_until_its_instance_is_ended_and_is_not_lost(
    scene: Scene,
) -> None:
    """The author of the cancel went away half way; the closer of any worker ends it within a second or so."""
    worker, orchestration = await scene.worker(), uuid4()
    await worker.settle(await worker.claim(message_for(orchestration, 0, 2)), Failed(BOOM, final=True))
    await scene.run("UPDATE orchestration SET cancelled_at = now()")
    late = _late(orchestration, False)
    assert type(await worker.answer(late)).__name__ == "TryAgain"
    await scene.end(orchestration)
    assert type(await worker.answer(late)).__name__ == "Refused"
    await _publish_event(scene)
    await scene.retries.retry_failed(orchestration)
    assert (await worker.claim(pointer_to(late))).params == '{"n": 7}'


async def test_a_message_that_meets_its_placeholder_before_that_is_ended_leaves_its_params_too(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    await worker.settle(await worker.claim(message_for(orchestration, 0, 2)), Failed(BOOM, final=True))
    await scene.run("UPDATE orchestration SET cancelled_at = now()")
    insert = """INSERT INTO job (id, orchestration_id, index, job_name, params, publish_at)
               VALUES (:id, :o, 1, 'count', 'null', now())"""
    await scene.run(insert, id=instance_id(orchestration, 1), o=orchestration)
    answer = await worker.answer(_late(orchestration, False))
    assert isinstance(answer, Refused)
    assert answer.why is Refusal.CLOSING
    await scene.end(orchestration)
    await _publish_event(scene)
    await scene.retries.retry_failed(orchestration)
    assert (await worker.claim(pointer_to(message_for(orchestration, 1, 2)))).params == '{"n": 7}'


async def test_a_rejected_instance_stays_errored_until_its_message_was_replayed(scene: Scene) -> None:
    worker, orchestration = await scene.worker(), uuid4()
    instance = message_for(orchestration, 0, 1, params=None)
    rejected = Rejection("1", "InvalidJson", "no JSON", b"{", {}, 0.0, instance)
    assert await Rejections(scene.engine).write([rejected]) == [True]
    await _publish_event(scene)
    assert await scene.retries.retry_failed(orchestration) == 0
    assert (await scene.orchestration(orchestration))["generation"] == 1
    replayed = message_for(orchestration, 0, 1, params='{"n": 7}')
    assert type(await worker.answer(replayed)).__name__ == "Refused"
    assert await scene.retries.retry_failed(orchestration) == 1
    assert (await worker.claim(pointer_to(replayed))).params == '{"n": 7}'


async def test_the_params_of_another_orchestration_are_not_taken(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await _cancelled(scene, worker)
    stranger = message_for(uuid4(), 0, 1, job_id=instance_id(orchestration, 1), params='{"n": 9}')
    assert type(await worker.answer(stranger)).__name__ == "Conflict"
    assert await scene.value("CAST(params AS text) FROM job WHERE index = 1") == "null"


async def test_late_params_that_postgres_refuses_cost_the_others_of_their_batch_nothing(scene: Scene) -> None:
    """They are refused after the claim of the others is committed: the half batches must still know it as theirs."""
    worker, store_of = await scene.worker(), uuid4()
    orchestration = await _cancelled(scene, worker)
    bad = replace(_late(orchestration, False), params='{"half a')
    good = messages_for(store_of, 3)
    store = Store(
        scene.engine, lambda: worker.id, TTL, Observer(), completed=lambda: None, on_unavailable=lambda _: None
    )
    running = asyncio.create_task(store.run())
    asked = [store.claim(one) for one in (good[0], bad, *good[1:])]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["Claim", "DataError", "Claim", "Claim"]
    assert await scene.value("max(attempt) FROM job WHERE worker_id IS NOT NULL") == 1
