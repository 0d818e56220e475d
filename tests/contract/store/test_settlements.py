"""What every store promises about settlements and rejections: once, under the fence, with counters that equal rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from daemon.job import (
    Claim,
    Failed,
    Interrupted,
    JobError,
    Kind,
    Refusal,
    Refused,
    Result,
    Returned,
    Settled,
    Settlement,
    Status,
    StopReason,
)
from daemon.rules.lifecycle import RetryPolicy, settle
from daemon.rules.messages import rejected_instance
from daemon.rules.retry import Backoff
from tests.contract.store.conftest import Open
from tests.contract.store.grounds import Counted, Seen
from tests.contract.store.test_claims import GROUP, a_message, claimed
from tests.fakes.delivery import FakeDelivery

BOOM = Failed(JobError(Kind.RAISED, "boom"))
AT_ONCE = RetryPolicy(3, Backoff(0, 1, 0, jitter=False))
LATER = RetryPolicy(3, Backoff(1000, 1, 1000, jitter=False))


def decided(claim: Claim, result: Result, policy: RetryPolicy = AT_ONCE) -> Settlement:
    """What the rules make of a result."""
    return settle(claim, result, policy, 300, lambda: 0.5)


async def test_a_success_ends_the_job_and_counts(opened: Open) -> None:
    async with opened() as ground:
        for index, complete in ((0, False), (1, True)):
            claim = await claimed(ground, a_message(index))
            assert await ground.one.settle(claim, decided(claim, Returned("1"))) is Settled.STORED
            assert ground.job(claim.job_id) == Seen(Status.COMPLETED, 1, None, 0, False)
            assert ground.orchestration(GROUP) == Counted(2, index + 1, 0, complete)


async def test_a_failure_that_may_be_tried_again_is_free_and_dated(opened: Open) -> None:
    async with opened() as ground:
        claim = await claimed(ground, a_message())
        await ground.one.settle(claim, decided(claim, BOOM))
        assert ground.job(claim.job_id) == Seen(Status.IN_PROGRESS, 1, None, 1, True)
        again = await ground.other.claim(a_message())
        assert isinstance(again, Claim)
        assert (again.attempt, again.failures) == (2, 1)


async def test_a_job_that_backs_off_is_not_due(opened: Open) -> None:
    async with opened() as ground:
        claim = await claimed(ground, a_message())
        await ground.one.settle(claim, decided(claim, BOOM, LATER))
        answer = await ground.other.claim(a_message())
        assert isinstance(answer, Refused)
        assert answer.why is Refusal.NOT_DUE
        assert ground.job(claim.job_id) == Seen(Status.IN_PROGRESS, 1, None, 1, True)


async def test_the_last_failure_ends_the_job(opened: Open) -> None:
    async with opened() as ground:
        for attempt in (1, 2, 3):
            claim = await claimed(ground, a_message(count=1))
            assert claim.attempt == attempt
            await ground.one.settle(claim, decided(claim, BOOM))
        assert ground.job(claim.job_id) == Seen(Status.ERRORED, 3, None, 3, False)
        assert ground.orchestration(GROUP) == Counted(1, 0, 1, True)


async def test_an_interruption_costs_no_failure(opened: Open) -> None:
    async with opened() as ground:
        claim = await claimed(ground, a_message())
        await ground.one.settle(claim, decided(claim, Interrupted(StopReason.DRAINING)))
        assert ground.job(claim.job_id) == Seen(Status.IN_PROGRESS, 1, None, 0, True)


@pytest.mark.parametrize("result", [Returned("1"), BOOM, Interrupted(StopReason.DRAINING)])
async def test_a_settlement_that_is_repeated_counts_once_and_is_a_success(opened: Open, result: Result) -> None:
    async with opened() as ground:
        claim = await claimed(ground, a_message())
        settlement = decided(claim, result, LATER)
        await ground.one.settle(claim, settlement)
        first = (ground.job(claim.job_id), ground.orchestration(GROUP))
        assert await ground.one.settle(claim, settlement) is Settled.STORED
        assert (ground.job(claim.job_id), ground.orchestration(GROUP)) == first


async def test_a_stale_attempt_cannot_overwrite_a_newer_one(opened: Open) -> None:
    async with opened() as ground:
        old = await claimed(ground, a_message())
        await ground.one.settle(old, decided(old, BOOM))
        new = await ground.other.claim(a_message())
        assert isinstance(new, Claim)
        assert await ground.one.settle(old, decided(old, Returned('"stale"'))) is Settled.STALE
        assert ground.job(old.job_id) == Seen(Status.IN_PROGRESS, 2, new.worker_id, 1, False)
        assert await ground.other.settle(new, decided(new, Returned("1"))) is Settled.STORED
        assert await ground.one.settle(old, decided(old, Interrupted(StopReason.DRAINING))) is Settled.STALE
        assert ground.orchestration(GROUP) == Counted(2, 1, 0, False)


async def test_another_worker_cannot_settle_what_it_does_not_hold(opened: Open) -> None:
    async with opened() as ground:
        claim = await claimed(ground, a_message())
        forged = replace(decided(claim, Returned("1")), worker_id=uuid4())
        assert await ground.other.settle(claim, forged) is Settled.STALE
        assert ground.job(claim.job_id) == Seen(Status.IN_PROGRESS, 1, ground.me, 0, False)


async def test_instances_that_end_at_once_complete_their_orchestration(opened: Open) -> None:
    async with opened() as ground:
        claims = [await claimed(ground, a_message(index, 20)) for index in range(20)]
        ends = [Returned("1") if claim.index % 2 else replace(BOOM, final=True) for claim in claims]
        settled = [ground.one.settle(claim, decided(claim, end)) for claim, end in zip(claims, ends, strict=True)]
        assert set(await asyncio.gather(*settled)) == {Settled.STORED}
        assert ground.orchestration(GROUP) == Counted(20, 10, 10, True)


async def test_a_rejected_message_is_kept_once_and_closes_its_instance(opened: Open) -> None:
    async with opened() as ground:
        ids = {"job_name": "paint", "orchestration_id": str(GROUP), "index": "1", "count": "2"}
        delivery = FakeDelivery(b"[]", ids, "m1")
        instance = rejected_instance(delivery.data, delivery.attributes)
        assert instance is not None
        for _ in range(2):
            await ground.one.reject(delivery, "ParamsNotObject", "data is JSON, but no object", instance)
        assert ground.rejected("m1") == "ParamsNotObject"
        assert ground.job(instance.job_id) == Seen(Status.ERRORED, 0, None, 0, False)
        assert ground.orchestration(GROUP) == Counted(2, 0, 1, False)
        answer = await ground.other.claim(a_message(1))
        assert isinstance(answer, Refused)
        assert answer.why is Refusal.FINISHED


async def test_a_rejected_message_leaves_a_job_that_is_there_alone(opened: Open) -> None:
    async with opened() as ground:
        claim = await claimed(ground, a_message())
        delivery = FakeDelivery(b"[]", {}, "m2")
        await ground.other.reject(delivery, "ParamsNotObject", "no object", a_message())
        assert ground.rejected("m2") == "ParamsNotObject"
        assert ground.job(claim.job_id) == Seen(Status.IN_PROGRESS, 1, ground.me, 0, False)


async def test_a_rejected_message_without_an_instance_is_kept(opened: Open) -> None:
    async with opened() as ground:
        hostile = FakeDelivery(b"\x00\xff", {"job_name": "a\x00b"}, "m3")
        await ground.one.reject(hostile, "BadJobName", "what \x00 it \ud800 says", None)
        assert ground.rejected("m3") == "BadJobName"
