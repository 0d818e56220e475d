"""Rejected and dead messages (H13a): kept whole, and the instance that they stood for is closed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pytest

from daemon.job import Claim, Failed, JobError, JobMessage, Kind
from daemon.postgres.dead_letters import Graveyard
from daemon.postgres.rejections import Rejection, Rejections
from tests.postgres.scene import BOOM, Scene, message_for, messages_for, pointer_to

DEAD = JobError(Kind.DEAD_LETTERED, "delivered 5 times")


def _rejection(instance: JobMessage | None, **changes: object) -> Rejection:
    rejection = Rejection(uuid4().hex, "ParamsNoJson", "no JSON", b"{\x00", {"a": "b"}, 1.5e9, instance)
    return replace(rejection, **changes)


@dataclass
class Letter:
    """A dead letter as it was pulled."""

    data: bytes = b"{}"
    attributes: dict[str, str] = field(default_factory=dict)
    message_id: str = field(default_factory=lambda: uuid4().hex)
    publish_time: float = 0.0


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
    assert (row["error"]["kind"], row["error"]["message"]) == ("Rejected", "ParamsNoJson: no JSON")


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
    assert (bytes(row["data"]), row["attributes"], row["reason"]) == (b"{\x00", {"k": "\x00"}, "ParamsNoJson")
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


async def test_a_dead_letter_ends_a_waiting_and_an_unborn_job_and_leaves_a_running_one_alone(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 4)
    claims = {message.index: await worker.claim(message) for message in messages[:3]}
    await worker.settle(claims[0])
    await worker.settle(claims[1], Failed(BOOM))
    unknown = pointer_to(message_for(uuid4()))
    buried = await Graveyard(scene.engine).bury([(one, DEAD) for one in [*messages, unknown]])
    assert buried == {unknown.message_id}
    rows = await scene.run("SELECT status, worker_id IS NOT NULL AS held FROM job ORDER BY index")
    expected = [("Completed", False), ("Errored", False), ("InProgress", True), ("Errored", False)]
    assert [(row["status"], row["held"]) for row in rows] == expected
    assert (await scene.job(messages[1].job_id))["error"]["kind"] == "DeadLettered"
    await worker.settle(claims[2])
    assert await _outcome(scene, messages[0].orchestration_id) == (2, 2, "Partial")


async def test_a_dead_letter_of_a_job_that_is_claimed_meanwhile_leaves_the_claim_alone(scene: Scene) -> None:
    worker = await scene.worker()
    made = await scene.kick_off()
    async with scene.rival() as claim:
        await claim.run("UPDATE job SET worker_id = :me, attempt = 1, publish_at = NULL", me=worker.id)
        burying = asyncio.create_task(Graveyard(scene.engine).bury([(made.born[0][0], DEAD)]))
        await scene.until_blocked()
        await claim.commit()
    assert await burying == frozenset()
    assert (await scene.job(made.born[0][0].job_id))["status"] == "InProgress"


async def test_a_dead_letter_without_a_job_is_kept(scene: Scene) -> None:
    letter = Letter(b"not ours")
    for _ in range(2):
        await Graveyard(scene.engine).keep(letter, "DeadLettered", "no job")
    rows = await scene.run("SELECT message_id, reason FROM rejected_message")
    assert [(row["message_id"], row["reason"]) for row in rows] == [(letter.message_id, "DeadLettered")]


async def test_a_rejected_and_a_good_message_of_one_place_end_as_one_job(scene: Scene) -> None:
    """The rejection waits for the claim of the same instance, and finds it born."""
    worker, message = await scene.worker(), message_for(uuid4())
    both = await asyncio.gather(worker.answer(message), Rejections(scene.engine).write([_rejection(message)]))
    assert isinstance(both[0], Claim) != (both[1] == [True])
    assert await scene.value("count(*) FROM job") == 1
