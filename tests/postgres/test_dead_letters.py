"""Dead letters: counted against their jobs, which are published again; the third one without a run ends a job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from daemon.dead_letter import DeadLetter, PulledMessage, RecordedDeadLetters
from daemon.engine.dead_letters import DeadLetterConsumer, first_published
from daemon.job import Claim, Failed, JobMessage
from daemon.observe import Observer
from daemon.postgres.dead_letters import DISAGREES, OLD, UNKNOWN, DeadLetterStore
from tests.postgres.scene import BOOM, Scene, decided, message_for, messages_for, pointer_to

RETENTION = 7 * 86400.0
HISTORY = "Pub/Sub gave the message up after 100 deliveries"


def pulled(data: bytes = b"{}", attributes: Mapping[str, str] | None = None) -> PulledMessage:
    """A dead letter as it was pulled."""
    return PulledMessage(data, attributes or {}, uuid4().hex, 0.0, uuid4().hex)


def dead(message: JobMessage, ago: float = 0.0) -> DeadLetter:
    """The dead letter of a message that was published so many seconds ago."""
    return DeadLetter(message, datetime.now(UTC) - timedelta(seconds=ago), HISTORY)


async def record(scene: Scene, *letters: DeadLetter) -> RecordedDeadLetters:
    return await DeadLetterStore(scene.engine).record(letters, RETENTION)


async def test_a_dead_letter_publishes_its_free_and_due_job_again(scene: Scene) -> None:
    made = await scene.kick_off()
    message = made.jobs[0].message
    assert not (await scene.job(message.job_id))["due"]
    assert await record(scene, dead(message)) == RecordedDeadLetters(1, 0, {})
    row = await scene.job(message.job_id)
    assert (row["status"], row["attempt"], row["dead_letters"], row["due"]) == ("InProgress", 0, 1, True)


async def test_the_third_dead_letter_without_a_run_ends_the_job(scene: Scene) -> None:
    made = await scene.kick_off()
    message = made.jobs[0].message
    for _ in range(2):
        assert (await record(scene, dead(message))).ended == 0
    assert await record(scene, dead(message)) == RecordedDeadLetters(0, 1, {})
    row = await scene.job(message.job_id)
    assert (row["status"], row["attempt"], row["error"]["kind"]) == ("Errored", 0, "DeadLettered")
    assert HISTORY in row["error"]["message"]
    assert (await scene.orchestration(made.id))["outcome"] == "Errored"


async def test_copies_of_one_publish_count_once(scene: Scene) -> None:
    message = (await scene.kick_off()).jobs[0].message
    copies = [dead(message, 60), dead(message, 50), dead(message, 40)]
    assert [(await record(scene, copy)).again for copy in copies] == [1, 0, 0]
    assert (await scene.job(message.job_id))["dead_letters"] == 1


async def test_a_claim_sets_the_count_of_dead_letters_back(scene: Scene) -> None:
    worker, message = await scene.worker(), (await scene.kick_off()).jobs[0].message
    for _ in range(2):
        await record(scene, dead(message))
    claim = await worker.claim(pointer_to(message))
    await worker.store(decided(claim, Failed(BOOM)))
    assert await record(scene, dead(message)) == RecordedDeadLetters(1, 0, {})
    assert (await scene.job(message.job_id))["dead_letters"] == 1


async def test_a_job_that_is_held_or_waits_or_is_finished_is_left_alone(scene: Scene) -> None:
    worker, messages = await scene.worker(), messages_for(uuid4(), 3)
    claims = [await worker.claim(message) for message in messages]
    await worker.settle(claims[0])
    await worker.settle(claims[1], Failed(BOOM))
    await scene.run(
        "UPDATE job SET not_before = now() + interval '1 hour', publish_at = now() + interval '1 hour' WHERE id = :id",
        id=messages[1].job_id,
    )
    before = await scene.run("SELECT * FROM job ORDER BY id")
    assert await record(scene, *[dead(message) for message in messages]) == RecordedDeadLetters(0, 0, {})
    assert await scene.run("SELECT * FROM job ORDER BY id") == before
    assert await worker.settle(claims[2]) == "stored"


async def test_a_dead_letter_of_a_job_that_is_claimed_meanwhile_leaves_the_claim_alone(scene: Scene) -> None:
    worker = await scene.worker()
    made = await scene.kick_off()
    async with scene.rival() as claim:
        await claim.run("UPDATE job SET worker_id = :me, attempt = 1, publish_at = NULL", me=worker.id)
        recording = asyncio.create_task(record(scene, dead(made.jobs[0].message)))
        await scene.until_blocked()
        await claim.commit()
    assert await recording == RecordedDeadLetters(0, 0, {})
    assert (await scene.job(made.jobs[0].message.job_id))["dead_letters"] == 0


async def test_a_dead_letter_without_a_row_makes_a_job_that_is_due_and_runs(scene: Scene) -> None:
    message = message_for(uuid4(), 1, 2, tags={"a": "b"})
    assert await record(scene, dead(message)) == RecordedDeadLetters(1, 0, {})
    row = await scene.job(message.job_id)
    assert (row["attempt"], row["dead_letters"], row["due"], row["params"]) == (0, 1, True, {"n": 1})
    assert (await scene.orchestration(message.orchestration_id))["tags"] == {"a": "b"}
    claim = await (await scene.worker()).claim(pointer_to(message))
    assert (claim.attempt, claim.params) == (1, '{"n": 1}')


async def test_a_dead_letter_without_a_row_that_is_older_than_its_retention_makes_none(scene: Scene) -> None:
    """Its job may have run and been pruned: it must not run again."""
    message = message_for(uuid4())
    assert (await record(scene, dead(message, RETENTION + 60))).refused == {message.job_id: OLD}
    nameless = replace(dead(message), first_published=None)
    assert (await record(scene, nameless)).refused == {message.job_id: OLD}
    assert await scene.value("count(*) FROM job") == 0
    assert await scene.value("count(*) FROM orchestration") == 0
    assert (await record(scene, dead(message, RETENTION - 60))).refused == {}


@pytest.mark.parametrize("changes", [{"count": 7}, {"job_name": "other"}, {"job_id": uuid4(), "index": 0}])
async def test_a_dead_letter_that_disagrees_makes_no_job_and_closes_none(scene: Scene, changes: dict[str, Any]) -> None:
    made = message_for(uuid4(), 0, 2)
    await (await scene.worker()).claim(made)
    wrong = replace(message_for(made.orchestration_id, 1, 2, job_id=uuid4()), **changes)
    assert (await record(scene, dead(wrong))).refused == {wrong.job_id: DISAGREES}
    assert await scene.value("count(*) FROM job") == 1


async def test_a_dead_letter_that_only_names_an_unknown_job_is_refused(scene: Scene) -> None:
    message = pointer_to(message_for(uuid4()))
    assert (await record(scene, dead(message))).refused == {message.job_id: UNKNOWN}


async def test_a_dead_letter_gives_its_params_to_an_instance_that_was_ended_before_it_came(scene: Scene) -> None:
    worker, other = await scene.worker(), message_for(uuid4(), 0, 2)
    await worker.claim(other)
    await scene.terminations.cancel(other.orchestration_id)
    late = message_for(other.orchestration_id, 1, 2, params='{"n": 7}')
    assert (await scene.job(late.job_id))["params"] is None
    assert await record(scene, dead(late)) == RecordedDeadLetters(0, 0, {})
    row = await scene.job(late.job_id)
    assert (row["status"], row["params"]) == ("Errored", {"n": 7})


async def test_a_recorded_batch_locks_jobs_by_id(scene: Scene) -> None:
    from tests.postgres.test_lock_order import assert_locks_in_order

    letters = [dead(item.message) for item in (await scene.kick_off(20)).jobs]
    await assert_locks_in_order(scene, "job", lambda: record(scene, *reversed(letters)))


class Subscription:
    """A subscription with these letters in it."""

    def __init__(self, *letters: PulledMessage) -> None:
        self.letters = list(letters)
        self.acknowledged: list[str] = []

    async def pull(self, subscription: str, limit: int, wait_seconds: float) -> Sequence[PulledMessage]:
        return self.letters

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        self.acknowledged += ack_ids

    async def retention(self, subscription: str) -> float:
        return RETENTION if subscription == "jobs" else 0.0


async def test_what_cannot_be_a_job_is_kept_as_rejected_before_it_is_acknowledged(scene: Scene) -> None:
    old = {"job_name": "count", "CloudPubSubDeadLetterSourceTopicPublishTime": "2020-05-13T22:03:55.262+00:00"}
    subscription = Subscription(pulled(b"not ours"), pulled(b"{}", old))
    consumer = DeadLetterConsumer(subscription, DeadLetterStore(scene.engine), "dead", "jobs", Observer())
    assert not await consumer.consume()
    rows = await scene.run("SELECT message_id, reason, text FROM rejected_message ORDER BY id")
    assert [(row["message_id"], row["reason"]) for row in rows] == [
        (subscription.letters[0].message_id, "NoJobName"),
        (subscription.letters[1].message_id, "DeadLettered"),
    ]
    assert OLD in rows[1]["text"]
    assert subscription.acknowledged == [one.ack_id for one in subscription.letters]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-05-13T22:03:55.262+00:00", datetime(2020, 5, 13, 22, 3, 55, 262_000, UTC)),
        ("2020-05-13T22:03:55.262123456Z", datetime(2020, 5, 13, 22, 3, 55, 262_123, UTC)),
        ("2020-05-13T22:03:55Z", datetime(2020, 5, 13, 22, 3, 55, 0, UTC)),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_first_publish_is_read_from_pubsubs_attribute(text: str, moment: datetime | None) -> None:
    assert first_published({"CloudPubSubDeadLetterSourceTopicPublishTime": text}) == moment


async def test_a_dead_letter_of_a_job_that_a_thread_still_occupies_is_left_alone(scene: Scene) -> None:
    message = (await scene.kick_off()).jobs[0].message
    await scene.run("UPDATE job SET occupied_by = :worker", worker=uuid4())
    assert await record(scene, dead(message)) == RecordedDeadLetters(0, 0, {})


async def test_a_claim_and_a_dead_letter_of_one_new_job_make_one_row(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    answer, _ = await asyncio.gather(worker.answer(message), record(scene, dead(message)))
    assert isinstance(answer, Claim)
    assert await scene.value("count(*) FROM job") == 1
