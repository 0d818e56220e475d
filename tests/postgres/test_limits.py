"""Limits over the fleet: no more claims than permits, whatever is claimed at once, lost, ended from outside or rescued.

What these tests play is what the model in tests/model/limits.py says of each rule.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from uuid import UUID, uuid4

import pytest

from daemon.job import Claim, ClaimAnswer, Failed, JobMessage, Refusal, Refused
from daemon.orchestration import Created
from daemon.postgres.claims import ClaimRequest
from daemon.postgres.permits import Permits
from daemon.rules.limits import JobLimit, Limit, limits_of
from tests.postgres.scene import BOOM, Scene, Worker, messages_for, pointer_to, registration_of

LIMITED = Refused(Refusal.LIMITED)


def of(*limits: Limit, job_name: str = "count") -> list[JobLimit]:
    return limits_of(job_name, limits)


def pointers(made: Created) -> list[JobMessage]:
    return [pointer_to(item.message) for item in made.jobs]


def claims_in(answers: list[ClaimAnswer]) -> list[Claim]:
    return [answer for answer in answers if isinstance(answer, Claim)]


async def permits(scene: Scene) -> list[UUID]:
    return [row["job_id"] for row in await scene.run("SELECT job_id FROM permit ORDER BY given_at")]


async def test_what_finds_no_permit_is_parked_with_a_date_and_without_an_attempt(scene: Scene) -> None:
    worker, made = await scene.worker(of(Limit(2))), await scene.kick_off(5)

    answers = await worker.answers(*pointers(made))

    claimed = claims_in(answers)
    assert len(claimed) == 2
    assert [answer for answer in answers if answer not in claimed] == [LIMITED] * 3
    assert sorted(await permits(scene)) == sorted(claim.job_id for claim in claimed)
    for message in pointers(made):
        row = await scene.job(message.job_id)
        if row["worker_id"] is None:
            assert (row["attempt"], row["waits_limit"], row["waits_key"]) == (0, "count", "")
            assert row["not_before"] == row["publish_at"]
            assert 7_000 < row["due_in"] <= 7_200


async def test_a_permit_that_is_released_goes_to_the_longest_waiter_and_not_to_a_newer_job(scene: Scene) -> None:
    worker = await scene.worker(of(Limit(1)))
    first, second, third = [(await scene.kick_off()).jobs[0].message for _ in range(3)]
    claim = await worker.claim(pointer_to(first))
    assert await worker.answer(pointer_to(second)) == LIMITED

    await worker.settle(claim)
    assert await Permits(scene.engine).wake() == 1

    assert await permits(scene) == [second.job_id]
    assert (await scene.job(second.job_id))["due"]
    assert await worker.answer(pointer_to(third)) == LIMITED
    assert isinstance(await worker.answer(pointer_to(second)), Claim)


@pytest.mark.parametrize("per", ["tags.customer", "params.account.id"])
async def test_jobs_are_counted_by_the_value_that_the_limit_names(scene: Scene, per: str) -> None:
    worker = await scene.worker(of(Limit(1, per=per)))
    messages = []
    for customer in ("a", "b", "a", ""):
        params = [f'{{"account": {{"id": "{customer}"}}}}'] if customer else ["{}"]
        made = await scene.kick_off(params=params, tags={"customer": customer} if customer else {})
        messages.append(pointer_to(made.jobs[0].message))

    answers = await worker.answers(*messages)

    assert [isinstance(answer, Claim) for answer in answers] == [True, True, False, True]
    keys = await scene.run("SELECT key FROM permit ORDER BY key")
    assert [row["key"] for row in keys] == ["", "a", "b"]


async def test_a_bare_message_beyond_the_limit_becomes_a_row_that_waits(scene: Scene) -> None:
    worker, messages = await scene.worker(of(Limit(1))), messages_for(uuid4(), 3)

    answers = await worker.answers(*messages)

    assert [claim.params for claim in claims_in(answers)] == ['{"n": 1}']
    assert answers.count(LIMITED) == 2
    waiting = await scene.run("SELECT CAST(params AS text) AS params FROM job WHERE waits_limit = 'count'")
    assert [row["params"] for row in waiting] == ['{"n": 1}'] * 2


async def test_a_job_gets_a_permit_of_each_of_its_limits_or_none(scene: Scene) -> None:
    both = of(Limit(5, name="crm"), Limit(1, per="tags.customer"))
    worker = await scene.worker(both)
    first, second = [(await scene.kick_off(tags={"customer": "a"})).jobs[0].message for _ in range(2)]

    answers = await worker.answers(pointer_to(first), pointer_to(second))

    assert [isinstance(answer, Claim) for answer in answers] == [True, False]
    assert await permits(scene) == [first.job_id] * 2
    assert (await scene.job(second.job_id))["waits_limit"] == "count per tags.customer"


async def test_two_handlers_share_a_limit_by_its_name(scene: Scene) -> None:
    shared = [*of(Limit(1, name="crm")), *of(Limit(1, name="crm"), job_name="other")]
    worker = await scene.worker(shared)
    mine, other = (await scene.kick_off()).jobs[0].message, (await scene.kick_off(job_name="other")).jobs[0].message

    assert isinstance(await worker.answer(pointer_to(mine)), Claim)
    assert await worker.answer(pointer_to(other)) == LIMITED


async def test_the_limits_of_a_job_are_those_of_its_row_whatever_name_a_message_gives(scene: Scene) -> None:
    worker = await scene.worker(of(Limit(1)))
    first, second = [(await scene.kick_off()).jobs[0].message for _ in range(2)]
    await worker.claim(pointer_to(first))

    assert await worker.answer(JobMessage("renamed", second.job_id, second.orchestration_id, 0, None, None)) == LIMITED


async def test_a_job_without_limits_is_claimed_though_a_message_gives_the_name_of_a_limited_one(scene: Scene) -> None:
    worker, made = await scene.worker(of(Limit(1))), await scene.kick_off(job_name="other")
    (message,) = pointers(made)

    claim = await worker.claim(JobMessage("count", message.job_id, made.id, 0, None, None))

    assert claim.job_name == "other"
    assert await permits(scene) == []
    assert not (await scene.job(claim.job_id))["has_permits"]


async def test_a_repeated_claim_is_the_same_one_and_takes_no_second_permit(scene: Scene) -> None:
    worker, made = await scene.worker(of(Limit(1))), await scene.kick_off()
    request = ClaimRequest(pointers(made)[0])

    (first,) = await worker.asked([request])
    (again,) = await worker.asked([request])

    assert isinstance(first, Claim)
    assert isinstance(again, Claim)
    assert (first.attempt, again.attempt) == (1, 1)
    assert await permits(scene) == [first.job_id]


async def test_a_failed_attempt_gives_its_permit_back_while_it_waits_for_its_retry(scene: Scene) -> None:
    worker, made = await scene.worker(of(Limit(1))), await scene.kick_off()
    claim = await worker.claim(pointers(made)[0])

    await worker.settle(claim, Failed(BOOM, retry_in=60.0))

    assert await permits(scene) == []
    assert not (await scene.job(claim.job_id))["has_permits"]


async def test_the_permits_of_a_dead_worker_are_free_once_it_is_rescued_from(scene: Scene) -> None:
    dying, living = await scene.worker(of(Limit(1))), await scene.worker(of(Limit(1)))
    first, second = [(await scene.kick_off()).jobs[0].message for _ in range(2)]
    await dying.claim(pointer_to(first))
    assert await living.answer(pointer_to(second)) == LIMITED

    await scene.silence(dying)
    await living.rescue()

    assert await permits(scene) == []
    assert await Permits(scene.engine).wake() == 1
    assert isinstance(await living.answer(pointer_to(second)), Claim)


async def test_a_cancelled_job_keeps_its_permit_until_its_handler_has_really_ended(scene: Scene) -> None:
    worker = await scene.worker(of(Limit(1)))
    first, second = await scene.kick_off(), await scene.kick_off()
    claim = await worker.claim(pointers(first)[0])
    assert await worker.answer(pointers(second)[0]) == LIMITED

    await scene.terminations.cancel(first.id)
    await scene.end(first.id)
    assert await Permits(scene.engine).wake() == 0
    assert await permits(scene) == [claim.job_id]

    registration_of(scene).vacate(worker.id, [claim.job_id])
    assert await Permits(scene.engine).wake() == 1
    assert await permits(scene) == [pointers(second)[0].job_id]


async def test_a_job_that_is_cancelled_while_it_waits_leaves_nothing_behind(scene: Scene) -> None:
    worker = await scene.worker(of(Limit(1)))
    first, second, third = [await scene.kick_off() for _ in range(3)]
    claim = await worker.claim(pointers(first)[0])
    await worker.answers(*pointers(second), *pointers(third))
    await worker.settle(claim)
    await Permits(scene.engine).wake()
    assert await permits(scene) == [pointers(second)[0].job_id]

    await scene.terminations.cancel(second.id)
    await scene.end(second.id)

    assert await permits(scene) == []
    assert await Permits(scene.engine).wake() == 1
    assert await permits(scene) == [pointers(third)[0].job_id]


async def test_a_permit_that_is_released_while_a_claim_parks_is_found_in_the_next_round(scene: Scene) -> None:
    """The settlement locks no key, so its own wake-up sees no waiter yet."""
    worker, rival = await scene.worker(of(Limit(1))), await scene.worker(of(Limit(1)))
    first, second = [(await scene.kick_off()).jobs[0].message for _ in range(2)]
    claim = await worker.claim(pointer_to(first))
    async with scene.rival() as holder:
        await holder.run("SELECT FROM limit_key FOR UPDATE")
        parking = asyncio.create_task(rival.answer(pointer_to(second)))
        await scene.until_blocked()
        await worker.settle(claim)
        await holder.commit()
        answer = await parking

    woken = await Permits(scene.engine).wake()

    assert isinstance(answer, Claim) or (answer == LIMITED and woken == 1)
    assert await permits(scene) == [second.job_id]


async def test_never_more_than_the_limit_runs_and_everything_ends_whatever_is_claimed_at_once(scene: Scene) -> None:
    limits, rng = of(Limit(3, per="tags.customer")), random.Random(7)
    workers = [await scene.worker(limits) for _ in range(3)]
    made = [await scene.kick_off(8, tags={"customer": str(number)}) for number in range(4)]
    customer = {item.message.job_id: number for number, one in enumerate(made) for item in one.jobs}
    running: dict[UUID, Claim] = {}

    async def work(worker: Worker) -> None:
        while True:
            due = await scene.run(
                "SELECT id, orchestration_id FROM job WHERE status = 'InProgress' AND worker_id IS NULL"
                " AND (not_before IS NULL OR not_before <= now()) ORDER BY random() LIMIT 6"
            )
            messages = [JobMessage("count", row["id"], row["orchestration_id"], 0, None, None) for row in due]
            claimed = claims_in(await worker.answers(*messages)) if messages else []
            running.update({claim.job_id: claim for claim in claimed})
            counted = Counter(customer[job_id] for job_id in running)
            assert max(counted.values(), default=0) <= 3, counted
            for claim in claimed:
                await asyncio.sleep(rng.random() / 500)
                del running[claim.job_id]
                await worker.settle(claim)
            await Permits(scene.engine).wake()
            if not await scene.value("count(*) FROM job WHERE status = 'InProgress'"):
                return

    await asyncio.gather(*map(work, workers))

    assert await permits(scene) == []
    assert await scene.value("count(*) FROM job WHERE status = 'Completed'") == 32
    assert not await scene.value("count(*) FROM job WHERE waits_limit IS NOT NULL OR has_permits")
