"""Rejected messages (H13a): kept whole, and the instance that they stood for is closed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from daemon.job import Claim, JobMessage
from daemon.postgres.rejections import Rejection, Rejections
from tests.postgres.scene import Scene, message_for, messages_for


def _rejection(instance: JobMessage | None, **changes: object) -> Rejection:
    rejection = Rejection(uuid4().hex, "InvalidJson", "no JSON", b"{\x00", {"a": "b"}, 1.5e9, instance)
    return replace(rejection, **changes)


async def _outcome(scene: Scene, orchestration: UUID) -> tuple[int, int, str | None]:
    row = await scene.orchestration(orchestration)
    return row["completed"], row["errored"], row["outcome"]


async def test_a_rejected_instance_is_errored_so_that_its_orchestration_can_complete(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 3)
    for message in messages[:2]:
        await worker.settle(await worker.claim(message))
    assert await Rejections(scene.engine).write([_rejection(messages[2])]) == [True]
    assert await _outcome(scene, messages[0].orchestration_id) == (2, 1, "Partial")
    row = await scene.job(messages[2].job_id)
    assert (row["error"]["kind"], row["error"]["message"]) == ("Rejected", "InvalidJson: no JSON")


async def test_a_rejected_message_that_came_first_registers_its_orchestration(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 2)
    await Rejections(scene.engine).write([_rejection(messages[0])])
    await worker.settle(await worker.claim(messages[1]))
    assert await _outcome(scene, messages[0].orchestration_id) == (1, 1, "Partial")


async def test_a_rejected_message_is_kept_whole_and_once(scene: Scene) -> None:
    rejection = _rejection(None, text="NUL \x00 and \ud800", attributes={"k": "\x00"})
    for _ in range(2):
        assert await Rejections(scene.engine).write([rejection, replace(rejection, reason="Other")]) == [False] * 2
    (row,) = await scene.run("SELECT *, extract(epoch FROM published_at) AS at FROM rejected_message")
    assert (bytes(row["data"]), row["attributes"], row["reason"]) == (b"{\x00", {"k": "\x00"}, "InvalidJson")
    assert row["at"] == 1.5e9


async def test_a_rejected_duplicate_of_a_living_job_leaves_it_alone(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    claim = await worker.claim(message)
    await Rejections(scene.engine).write([_rejection(message), _rejection(replace(message, job_id=uuid4()))])
    assert (await scene.job(claim.job_id))["worker_id"] == worker.id
    assert await worker.settle(claim) == "stored"


async def test_a_rejected_index_beyond_the_count_makes_no_row(scene: Scene) -> None:
    made = await scene.kick_off(2)
    await Rejections(scene.engine).write([_rejection(message_for(made.id, 5, 9))])
    assert await scene.value("count(*) FROM job") == 2


async def test_one_that_cannot_be_kept_fails_the_transaction_as_a_whole(scene: Scene) -> None:
    good, bad = _rejection(message_for(uuid4())), _rejection(message_for(uuid4(), params="{"))
    with pytest.raises(Exception, match="invalid input syntax"):
        await Rejections(scene.engine).write([good, bad])
    assert await scene.value("count(*) FROM rejected_message") == 0


async def test_a_rejected_and_a_good_message_of_one_index_end_as_one_job(scene: Scene) -> None:
    """The rejection waits for the claim of the same instance, and finds it born."""
    worker, message = await scene.worker(), message_for(uuid4())
    both = await asyncio.gather(worker.answer(message), Rejections(scene.engine).write([_rejection(message)]))
    assert isinstance(both[0], Claim) != (both[1] == [True])
    assert await scene.value("count(*) FROM job") == 1
