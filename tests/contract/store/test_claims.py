"""What every store promises about claims: free jobs only, each refusal read from a row, no job from nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from daemon.job import (
    Cause,
    Claim,
    ClaimAnswer,
    Conflict,
    Interrupted,
    JobMessage,
    Refusal,
    Refused,
    Returned,
    Status,
    StopReason,
)
from daemon.rules.lifecycle import RetryPolicy, settle
from daemon.rules.messages import instance_id
from tests.contract.store.conftest import Open
from tests.contract.store.grounds import Ground, Seen

GROUP = uuid4()


def a_message(index: int = 0, count: int | None = 2, group: UUID = GROUP, **changes: object) -> JobMessage:
    """The message of one instance."""
    job_id = instance_id(group, index)
    plain = JobMessage("paint", job_id, group, index, count, '{"n": 1}', {"customer": "7"}, None, uuid4().hex)
    return replace(plain, **changes)  # type: ignore[arg-type]


async def claimed(ground: Ground, message: JobMessage) -> Claim:
    """A claim that must be given."""
    answer = await ground.one.claim(message)
    assert isinstance(answer, Claim), answer
    return answer


async def completed(ground: Ground, message: JobMessage) -> None:
    """Run it to its end."""
    claim = await claimed(ground, message)
    await ground.one.settle(claim, settle(claim, Returned("1"), RetryPolicy(), 300, lambda: 0.5))


async def test_the_first_message_makes_the_job_and_its_orchestration(opened: Open) -> None:
    async with opened() as ground:
        message = a_message()
        claim = await claimed(ground, message)
        assert (claim.job_id, claim.attempt, claim.count, claim.job_name) == (message.job_id, 1, 2, "paint")
        assert (claim.params, dict(claim.tags), claim.worker_id) == ('{"n": 1}', {"customer": "7"}, ground.me)
        assert ground.job(message.job_id) == Seen(Status.IN_PROGRESS, 1, ground.me, 0, False)
        assert ground.orchestration(GROUP) is not None


@pytest.mark.parametrize("whose", ["one", "other"])
@pytest.mark.parametrize("again", [True, False], ids=["redelivered", "published twice"])
async def test_a_held_job_is_refused_and_says_why_it_came_again(opened: Open, whose: str, again: bool) -> None:
    async with opened() as ground:
        message = a_message()
        await claimed(ground, message)
        asked = message if again else replace(message, message_id=uuid4().hex)
        answer = await getattr(ground, whose).claim(asked)
        cause = Cause.LEASE_EXPIRED if again else Cause.DUPLICATE_PUBLISH
        assert answer == Refused(Refusal.CLAIMED, cause)


async def test_a_finished_job_is_refused(opened: Open) -> None:
    async with opened() as ground:
        message = a_message()
        await completed(ground, message)
        answer = await ground.other.claim(replace(message, message_id="again"))
        assert answer == Refused(Refusal.FINISHED, Cause.DUPLICATE_PUBLISH)


async def test_a_message_that_points_at_a_job_takes_its_params_from_the_row(opened: Open) -> None:
    async with opened() as ground:
        message = a_message()
        claim = await claimed(ground, message)
        await ground.one.settle(claim, settle(claim, Interrupted(StopReason.DRAINING), RetryPolicy(), 300, lambda: 0.5))
        again = await ground.other.claim(replace(message, params=None, message_id="relay"))
        assert isinstance(again, Claim)
        assert (again.attempt, again.params) == (2, '{"n": 1}')


CONTRADICTIONS: dict[str, tuple[JobMessage, str]] = {
    "a job that is not there": (a_message(1, params=None), "NoSuchJob"),
    "an index beyond the count": (a_message(5, None), "IndexOutOfRange"),
    "another count": (a_message(1, 3), "CountMismatch"),
    "another name": (a_message(1, job_name="scan"), "NameMismatch"),
    "an index that is taken": (a_message(0, job_id=uuid4()), "IndexTaken"),
    "no count for a new orchestration": (a_message(0, None, uuid4()), "CountMissing"),
    "a job of another orchestration": (
        a_message(0, 1, UUID(int=9), job_id=instance_id(GROUP, 0)),
        "JobElsewhere",
    ),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
async def test_a_contradiction_is_named_and_makes_nothing(opened: Open, kind: str) -> None:
    message, reason = CONTRADICTIONS[kind]
    async with opened() as ground:
        await claimed(ground, a_message())
        answer = await ground.other.claim(message)
        assert isinstance(answer, Conflict)
        assert answer.reason == reason
        if message.job_id != instance_id(GROUP, 0):
            assert ground.job(message.job_id) is None


async def test_of_two_who_ask_at_once_one_gets_the_job(opened: Open) -> None:
    async with opened() as ground:
        for _ in range(5):
            message = a_message(group=uuid4())
            answers: list[ClaimAnswer] = await asyncio.gather(
                ground.one.claim(message), ground.other.claim(replace(message, message_id="2"))
            )
            assert sum(isinstance(answer, Claim) for answer in answers) == 1
            assert sum(isinstance(answer, Refused) and answer.why is Refusal.CLAIMED for answer in answers) == 1


async def test_the_same_message_many_times_at_once_is_one_claim(opened: Open) -> None:
    async with opened() as ground:
        message = a_message()
        answers = await asyncio.gather(*(ground.one.claim(replace(message)) for _ in range(10)))
        assert sum(isinstance(answer, Claim) for answer in answers) == 1
        seen = ground.job(message.job_id)
        assert seen is not None
        assert seen.attempt == 1
