"""Rates over the fleet: starts are spread evenly, oldest first, and each has one delivery wherever that is possible."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise

import pytest

from daemon.job import Claim, Failed, JobMessage, Refusal, Refused
from daemon.orchestration import Created
from daemon.postgres.permits import Permits
from daemon.rules.limits import JobLimit, Limit, Rate, limits_of
from tests.postgres.scene import BOOM, Scene, Worker, pointer_to

LIMITED = Refused(Refusal.LIMITED)


def of(*limits: Limit | Rate) -> list[JobLimit]:
    return limits_of("count", limits)


async def declare(scene: Scene, limits: list[JobLimit]) -> Worker:
    """A worker whose handler has these limits, as a kick-off knows."""
    values = json.dumps([asdict(limit) for limit in limits])
    insert = "INSERT INTO handler (name, revision, secrets, limits) VALUES ('count', 'r1', '{}', CAST(:limits AS json))"
    await scene.run(insert, limits=values)
    return await scene.worker(limits)


def pointers(made: Created) -> list[JobMessage]:
    return [pointer_to(one.message) for one in made.jobs]


async def moments(scene: Scene) -> list[float]:
    """When what has its start may begin, in seconds from now."""
    start = "CAST(extract(epoch FROM coalesce(not_before, publish_at) - now()) AS float8) AS starts_in"
    rows = await scene.run(f"SELECT {start} FROM job WHERE waits_limit IS NULL AND worker_id IS NULL ORDER BY 1")
    return [row["starts_in"] for row in rows]


async def test_a_job_starts_at_once_and_the_next_one_waits_for_its_moment(scene: Scene) -> None:
    worker, made = await scene.worker(of(Rate(1, per=60))), await scene.kick_off(2)

    answers = await worker.answers(*pointers(made))

    assert sorted(isinstance(answer, Claim) for answer in answers) == [False, True]
    assert await Permits(scene.engine).wake() == 0


async def test_the_moments_of_the_next_five_seconds_go_to_the_oldest_and_no_others(scene: Scene) -> None:
    worker = await declare(scene, of(Rate(2, per=1)))
    first = await scene.kick_off(4)
    second = await scene.kick_off(30)
    assert (first.jobs, second.jobs) == ([], [])

    assert await Permits(scene.engine).wake() == 11
    assert await Permits(scene.engine).wake() == 0

    given = await moments(scene)
    assert given[0] <= 0
    assert [later - earlier for earlier, later in pairwise(given)] == pytest.approx([0.5] * 10, abs=0.01)
    assert not await scene.value("count(*) FROM job WHERE orchestration_id = :id AND NOT has_permits", id=first.id)
    (due,) = await scene.run("SELECT id, orchestration_id FROM job WHERE publish_at <= now()")
    await worker.claim(JobMessage("count", due["id"], due["orchestration_id"], 0, None, None))
    assert await Permits(scene.engine).wake() == 0, "the claim has taken its own moment and no other"


async def test_a_retry_is_a_start_of_its_own(scene: Scene) -> None:
    worker, made = await scene.worker(of(Rate(1, per=60))), await scene.kick_off()
    claim = await worker.claim(pointers(made)[0])

    await worker.settle(claim, Failed(BOOM))

    assert await worker.answer(pointers(made)[0]) == LIMITED
    assert await scene.value("count(*) FROM permit") == 0


async def test_starts_are_counted_by_the_value_that_the_rate_names(scene: Scene) -> None:
    worker = await scene.worker(of(Rate(1, per=60, key="params.account")))
    made = await scene.kick_off(params=[f'{{"account": "{account}"}}' for account in "aab"])

    answers = await worker.answers(*pointers(made))

    assert sorted(isinstance(answer, Claim) for answer in answers[:2]) == [False, True]
    assert isinstance(answers[2], Claim)


async def test_a_waiter_that_is_cancelled_has_taken_no_moment(scene: Scene) -> None:
    await declare(scene, of(Rate(1, per=60)))
    cancelled, kept = await scene.kick_off(5), await scene.kick_off()
    await scene.terminations.cancel(cancelled.id)
    await scene.end(cancelled.id)

    assert await Permits(scene.engine).wake() == 1
    assert await scene.value("has_permits FROM job WHERE orchestration_id = :id", id=kept.id)


async def test_a_kick_off_holds_back_what_a_limit_has_no_room_for(scene: Scene) -> None:
    await declare(scene, of(Limit(2, per="params.n")))

    made = await scene.kick_off(params=['{"n": 1}'] * 5 + ['{"n": 2}'])

    assert [one.message.index for one in made.jobs] == [5]
    assert await Permits(scene.engine).wake() == 2
    assert await scene.value("count(*) FROM job WHERE waits_limit = 'count per params.n'") == 3
