"""The holes of publishing events (H8, H10b): the lease, the mark's fence, and events that Pub/Sub refuses."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from daemon.job import Failed
from daemon.orchestration import Outcome
from daemon.postgres.maintenance import Ages, Maintenance
from daemon.postgres.outbox import MAX_EVENT_REFUSALS, PUBLISHING_SECONDS, EventOutbox
from daemon.postgres.queries import Queries
from daemon.postgres.sweep import verify
from tests.postgres.scene import BOOM, TTL, Scene, messages_for

DUE_IN = "CAST(extract(epoch FROM event_publish_at - now()) AS float8) FROM orchestration WHERE id = :id"


async def _completed(scene: Scene) -> UUID:
    worker, messages = await scene.worker(), messages_for(uuid4(), 2)
    for message in messages:
        claim = await worker.claim(message)
        await worker.settle(claim, Failed(BOOM, final=True) if message.index else None)
    return messages[0].orchestration_id


async def _refused(scene: Scene, orchestration: UUID, times: int) -> None:
    """Have the event refused so many times, each time when it is due again."""
    due = EventOutbox(scene.engine)
    for number in range(times):
        await scene.run("UPDATE orchestration SET event_publish_at = now() WHERE id = :id", id=orchestration)
        (leased,) = await due.lease(10)
        await due.refuse(leased, f"refusal {number + 1}\x00")


async def test_an_event_is_leased_published_and_then_marked_once(scene: Scene) -> None:
    orchestration, due = await _completed(scene), EventOutbox(scene.engine)
    leased = await due.lease(10)
    assert await due.lease(10) == []
    event = leased[0].message
    assert (event.id, event.generation, event.outcome) == (orchestration, 1, Outcome.PARTIAL)
    assert (event.total, event.completed, event.errored) == (2, 1, 1)
    row = await scene.orchestration(orchestration)
    assert (row["event_published_at"], row["event_publish_at"]) == (None, leased[0].publish_at)
    await due.mark_published(leased)
    row = await scene.orchestration(orchestration)
    assert (row["event_published_at"] is not None, row["event_publish_at"]) == (True, None)
    assert await due.lease(10) == []


async def test_a_relay_that_dies_after_its_lease_delays_the_event_by_half_a_minute(scene: Scene) -> None:
    orchestration, due = await _completed(scene), EventOutbox(scene.engine)
    (before,) = await due.lease(10)
    assert await scene.value(DUE_IN, id=orchestration) == pytest.approx(PUBLISHING_SECONDS, abs=20)
    await scene.run("UPDATE orchestration SET event_publish_at = now()")
    (after,) = await due.lease(10)
    assert after.message == before.message  # the same event to the letter, whoever publishes it


async def test_no_row_is_locked_while_an_event_is_published(scene: Scene) -> None:
    orchestration, due = await _completed(scene), EventOutbox(scene.engine)
    await due.lease(10)
    async with scene.rival() as rival:
        assert await rival.run("SELECT id FROM orchestration WHERE id = :id FOR UPDATE SKIP LOCKED", id=orchestration)


async def test_an_event_that_was_not_taken_is_due_again_at_once(scene: Scene) -> None:
    orchestration, due = await _completed(scene), EventOutbox(scene.engine)
    leased = await due.lease(10)
    await due.requeue(leased)
    assert (await scene.orchestration(orchestration))["event_published_at"] is None
    assert [one.message.id for one in await due.lease(10)] == [orchestration]


@pytest.mark.parametrize("late", ["mark_published", "requeue", "refuse"])
async def test_a_late_relay_touches_no_lease_but_its_own(scene: Scene, late: str) -> None:
    orchestration, due = await _completed(scene), EventOutbox(scene.engine)
    old = await due.lease(10)
    await scene.run("UPDATE orchestration SET event_publish_at = now()")
    new = await due.lease(10)
    before = await scene.orchestration(orchestration)
    await (due.refuse(old[0], "no") if late == "refuse" else getattr(due, late)(old))
    assert dict(await scene.orchestration(orchestration)) == dict(before)
    await due.mark_published(new)
    assert (await scene.orchestration(orchestration))["event_published_at"] is not None


async def test_a_row_that_somebody_holds_does_not_stop_the_lease_of_others(scene: Scene) -> None:
    held, free = await _completed(scene), await _completed(scene)
    async with scene.rival() as rival:
        await rival.run("SELECT FROM orchestration WHERE id = :id FOR UPDATE", id=held)
        assert [one.message.id for one in await EventOutbox(scene.engine).lease(10)] == [free]


async def test_a_refused_event_waits_longer_each_time_and_is_given_up_at_the_tenth(scene: Scene) -> None:
    orchestration = await _completed(scene)
    for times, pause in enumerate((5, 10, 20, 40, 80, 160, 320, 600, 600), 1):
        before = await scene.value("clock_timestamp()")
        await _refused(scene, orchestration, 1)
        row, after = await scene.orchestration(orchestration), await scene.value("clock_timestamp()")
        assert before <= row["event_publish_at"] - timedelta(seconds=pause) <= after
        assert (row["event_refusals"], row["event_refused"]) == (times, None)
    await _refused(scene, orchestration, 1)
    row = await scene.orchestration(orchestration)
    assert (row["event_refusals"], row["event_published_at"]) == (MAX_EVENT_REFUSALS, None)
    assert row["event_refused"] == "refusal 1\ufffd"  # what Postgres can't hold is replaced
    await scene.run("UPDATE orchestration SET event_publish_at = now()")
    assert await EventOutbox(scene.engine).lease(10) == []


@pytest.mark.parametrize("all_of_them", [False, True])
async def test_republish_sends_a_given_up_event_again(scene: Scene, all_of_them: bool) -> None:
    orchestration, queries = await _completed(scene), Queries(scene.engine, TTL)
    maintenance = Maintenance(scene.engine)
    await _refused(scene, orchestration, MAX_EVENT_REFUSALS)
    assert [one.word for one in (await queries.explain(orchestration)).verdicts] == ["EVENT_REFUSED"]
    assert await maintenance.republish(None if all_of_them else orchestration) == 1
    assert [one.word for one in (await queries.explain(orchestration)).verdicts] == ["EVENT_PENDING"]
    assert [one.id for one in await scene.publish_events()] == [orchestration]
    assert await maintenance.republish(orchestration) == 0  # a published event is left alone


async def test_a_given_up_event_is_no_broken_invariant_and_is_pruned_like_a_published_one(scene: Scene) -> None:
    orchestration = await _completed(scene)
    await _refused(scene, orchestration, MAX_EVENT_REFUSALS)
    await scene.run("UPDATE orchestration SET completed_at = now() - interval '1 hour'")
    found = await verify(scene.engine, TTL)
    assert [one for one in found if one.check == "overdue_events"] == []
    assert (await Maintenance(scene.engine).prune(Ages(60, 60))).orchestrations == 1
