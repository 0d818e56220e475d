"""Pruning: what is old goes, in small transactions and in one order, and nothing late runs again."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, event

from daemon.errors import RequestRefused
from daemon.job import Failed, Refusal, Refused
from daemon.postgres import maintenance
from daemon.postgres.maintenance import Ages, Maintenance, Pruned
from daemon.postgres.queries import Queries
from daemon.postgres.rejections import Rejection, Rejections
from daemon.postgres.statements import maintenance as sql
from tests.postgres.scene import BOOM, TTL, Scene, Worker, message_for, messages_for, pointer_to
from tests.postgres.test_lock_order import assert_locks_in_order

DAY = 86_400.0
AGES = Ages(completed=30 * DAY, failed=90 * DAY)
HISTORIES = ("orchestration", "job", "failed_attempt", "redelivery", "progress_note")


async def finished(scene: Scene, worker: Worker, count: int = 1, days: float = 31, *, fails: bool = False) -> UUID:
    """An orchestration that ended so many days ago, its event published; with `fails` all of it is Errored."""
    messages = messages_for(uuid4(), count)
    for message in messages:
        await worker.settle(await worker.claim(message), Failed(BOOM, final=True) if fails else None)
    await scene.run(
        """UPDATE orchestration SET completed_at = now() - make_interval(secs => :age), event_published_at = now()
           WHERE id = :id""",
        age=days * DAY,
        id=messages[0].orchestration_id,
    )
    return messages[0].orchestration_id


async def left(scene: Scene) -> set[UUID]:
    return {row["id"] for row in await scene.run("SELECT id FROM orchestration")}


async def mark(scene: Scene, orchestration: UUID) -> None:
    """The first step of a prune that is then interrupted."""
    await scene.run("UPDATE orchestration SET pruning_at = now() WHERE id = :id", id=orchestration)


async def test_completed_goes_after_thirty_days_and_what_failed_after_ninety(scene: Scene) -> None:
    worker = await scene.worker()
    ages = {days: await finished(scene, worker, days=days) for days in (29, 31)}
    failed = {days: await finished(scene, worker, days=days, fails=True) for days in (89, 91)}
    assert await Maintenance(scene.engine).prune(AGES, dry_run=True) == Pruned(2, 2)
    assert len(await left(scene)) == 4
    assert await Maintenance(scene.engine).prune(AGES) == Pruned(2, 2)
    assert await left(scene) == {ages[29], failed[89]}


async def test_pruning_takes_the_jobs_and_their_history_along(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await finished(scene, worker, 3, days=91, fails=True)
    await worker.answer(message_for(orchestration, 0, 3))
    note = "INSERT INTO progress_note (job_id, orchestration_id, attempt, text) SELECT id, :id, 1, 'n' FROM job"
    await scene.run(note, id=orchestration)
    for table in HISTORIES:
        assert await scene.value(f"count(*) FROM {table}") > 0, table
    assert await Maintenance(scene.engine).prune(AGES) == Pruned(1, 3)
    for table in HISTORIES:
        assert await scene.value(f"count(*) FROM {table}") == 0, table


async def test_an_orchestration_whose_job_was_published_late_is_as_old_as_that(scene: Scene) -> None:
    orchestration = await finished(scene, await scene.worker(), 3)
    published = "UPDATE job SET published_at = now() - make_interval(days => :days) WHERE index = 2"
    await scene.run(published, days=29)
    assert await Maintenance(scene.engine).prune(AGES) == Pruned()
    assert await left(scene) == {orchestration}
    await scene.run(published, days=31)
    assert await Maintenance(scene.engine).prune(AGES) == Pruned(1, 3)


async def test_one_without_a_published_event_is_kept_unless_the_event_was_refused(scene: Scene) -> None:
    await finished(scene, await scene.worker())
    await scene.run("UPDATE orchestration SET event_published_at = NULL")
    assert await Maintenance(scene.engine).prune(AGES) == Pruned()
    await scene.run("UPDATE orchestration SET event_refused = 'no'")
    assert await Maintenance(scene.engine).prune(AGES) == Pruned(1, 1)


async def test_no_statement_of_a_prune_deletes_more_rows_than_its_bound(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "ROWS", 4)
    worker = await scene.worker()
    for count in (11, 2, 1, 3, 1):
        await finished(scene, worker, count)
    await scene.run(
        """INSERT INTO progress_note (job_id, orchestration_id, attempt, text)
           SELECT id, orchestration_id, 1, 'n' FROM job"""
    )
    deleted: list[int] = []

    def count_rows(
        _connection: Connection, cursor: object, statement: str, _values: object, _context: object, _many: bool
    ) -> None:
        if "DELETE FROM job" in statement or "DELETE FROM progress_note" in statement:
            deleted.append(getattr(cursor, "rowcount"))  # noqa: B009 - the driver's cursor has no type here

    event.listen(scene.engine.sync_engine, "after_cursor_execute", count_rows)
    try:
        assert await Maintenance(scene.engine).prune(AGES) == Pruned(5, 18)
    finally:
        event.remove(scene.engine.sync_engine, "after_cursor_execute", count_rows)
    assert max(deleted) == 4
    assert sum(deleted) == 2 * 18


async def test_pruning_locks_jobs_by_id(scene: Scene) -> None:
    orchestration = await finished(scene, await scene.worker(), 20)
    await mark(scene, orchestration)

    async def delete() -> None:
        async with scene.engine.begin() as connection:
            await connection.execute(sql.DELETE_JOBS, {"ids": [orchestration], "first": 0, "rows": 100})

    await assert_locks_in_order(scene, "job", delete)


async def test_an_interrupted_prune_is_finished_by_the_next_whatever_its_ages(scene: Scene) -> None:
    orchestration = await finished(scene, await scene.worker(), 5)
    await mark(scene, orchestration)
    await scene.run("DELETE FROM job WHERE index < 2")
    assert await Maintenance(scene.engine).prune(Ages(9e8, 9e8)) == Pruned(1, 3)
    assert await left(scene) == set()


async def test_a_message_of_an_orchestration_that_is_being_pruned_is_finished(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await finished(scene, worker, 2)
    await mark(scene, orchestration)
    await scene.run("DELETE FROM job WHERE index = 0")
    messages = [message_for(orchestration, index, 2) for index in (0, 1)]
    for message in (*messages, *map(pointer_to, messages)):
        answer = await worker.answer(message)
        assert isinstance(answer, Refused), answer
        assert answer.why is Refusal.FINISHED
    assert await scene.value("count(*) FROM job") == 1


async def test_a_message_that_waits_for_a_job_that_is_being_pruned_is_finished(scene: Scene) -> None:
    """Its snapshot is older than the mark, and the job is gone when it has waited."""
    worker = await scene.worker()
    orchestration = await finished(scene, worker)
    async with scene.rival() as pruning:
        await pruning.run("UPDATE orchestration SET pruning_at = now() WHERE id = :id", id=orchestration)
        await pruning.run("DELETE FROM job")
        claiming = asyncio.create_task(worker.answer(message_for(orchestration)))
        await scene.until_blocked()
        await pruning.commit()
    answer = await claiming
    assert isinstance(answer, Refused), answer
    assert answer.why is Refusal.FINISHED
    assert await scene.value("count(*) FROM job") == 0


async def test_a_rejected_message_makes_no_job_in_an_orchestration_that_is_being_pruned(scene: Scene) -> None:
    orchestration = await finished(scene, await scene.worker(), 2)
    await mark(scene, orchestration)
    await scene.run("DELETE FROM job WHERE index = 0")
    rejection = Rejection(uuid4().hex, "InvalidJson", "no JSON", b"{", {}, 1.5e9, message_for(orchestration, 0, 2))
    await Rejections(scene.engine).write([rejection])
    assert await scene.value("count(*) FROM job") == 1


async def test_an_orchestration_that_is_being_pruned_is_not_retried(scene: Scene) -> None:
    orchestration = await finished(scene, await scene.worker(), fails=True)
    await mark(scene, orchestration)
    with pytest.raises(RequestRefused, match="pruned"):
        await scene.retries.retry_failed(orchestration)


async def test_verify_is_content_with_an_interrupted_prune(scene: Scene) -> None:
    orchestration = await finished(scene, await scene.worker(), 3)
    await mark(scene, orchestration)
    await scene.run("DELETE FROM job WHERE index = 0")
    assert await Queries(scene.engine, TTL).verify() == []


async def test_what_is_opened_for_a_retry_while_pruning_waits_for_it_is_kept(scene: Scene) -> None:
    orchestration = await finished(scene, await scene.worker())
    async with scene.rival() as retrying:
        again = """UPDATE orchestration
                   SET completed = 0, completed_at = NULL, outcome = NULL, event_published_at = NULL WHERE id = :id"""
        await retrying.run(again, id=orchestration)
        pruning = asyncio.create_task(Maintenance(scene.engine).prune(AGES))
        await scene.until_blocked()
        await retrying.commit()
    assert await pruning == Pruned()
    assert await scene.value("count(*) FROM job") == 1


async def test_old_rejected_messages_repairs_and_redeliveries_are_pruned(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "ROWS", 2)
    message = (await scene.kick_off()).jobs[0].message
    for age in (95, 94, 93, 92, 89, 1):
        at = {"at": age}
        await scene.run(
            "INSERT INTO repair (cause, detail, repaired_at) VALUES ('c', 'd', now() - make_interval(days => :at))",
            **at,
        )
        await scene.run(
            """INSERT INTO redelivery (job_id, cause, received_at)
               VALUES (:job, 'retry', now() - make_interval(days => :at))""",
            job=message.job_id,
            **at,
        )
        await scene.run(
            """INSERT INTO rejected_message (message_id, reason, text, data, attributes, received_at)
               VALUES (:id, 'r', 't', '', '{}', now() - make_interval(days => :at))""",
            id=str(age),
            **at,
        )
    expected = Pruned(redeliveries=4, repairs=4, rejected=4)
    assert await Maintenance(scene.engine).prune(AGES, dry_run=True) == expected
    assert await Maintenance(scene.engine).prune(AGES) == expected
    for table in ("repair", "redelivery", "rejected_message"):
        assert await scene.value(f"count(*) FROM {table}") == 2


async def test_two_prunes_at_once_delete_everything_once(scene: Scene) -> None:
    worker = await scene.worker()
    for _ in range(10):
        await finished(scene, worker, 3)
    both = await asyncio.gather(*[Maintenance(scene.engine).prune(AGES) for _ in range(2)])
    assert sum(one.orchestrations for one in both) == 10
    assert sum(one.jobs for one in both) == 30
    assert await left(scene) == set()


async def test_a_prune_that_is_the_victim_of_a_deadlock_goes_on(scene: Scene) -> None:
    worker = await scene.worker()
    orchestration = await finished(scene, worker, 2)
    first, second = [row["id"] for row in await scene.run("SELECT id FROM job ORDER BY id")]
    async with scene.rival() as rival:
        await rival.run("SET LOCAL deadlock_timeout = '60s'")
        await rival.run("SELECT FROM job WHERE id = :id FOR UPDATE", id=second)
        pruning = asyncio.create_task(Maintenance(scene.engine).prune(AGES))
        await scene.until_blocked()
        await rival.run("SELECT FROM job WHERE id = :id FOR UPDATE", id=first)  # against the order: a deadlock
        await rival.commit()
    assert await pruning == Pruned(1, 2)
    assert orchestration not in await left(scene)
