"""Deadlocks (H11): everything locks jobs by id and then orchestrations by id, whatever the order of its input.

The order is seen, not timed: a rival holds one row in the middle, and whoever waits for it must hold every row before
it and none after it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from daemon.job import Claim, Failed, Interrupted, Progress, StopReason
from daemon.observe import Observer
from daemon.postgres.database import async_engine, sqlstate
from daemon.postgres.outbox import JobOutbox
from daemon.postgres.progress import ProgressBuffer
from daemon.postgres.rejections import Rejection, Rejections
from tests.postgres.scene import BOOM, Scene, Worker, decided, message_for, messages_for, pointer_to, writing

COUNT = 60
# Row by row in the order of the input. Joined by id alone, a table that the planner takes for empty, because autovacuum
# has come by, is read first, in the order of its key.
BY_INPUT = """
UPDATE job j SET progress_at = now()
FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL (SELECT ctid FROM job WHERE id = i.id LIMIT 1) t
WHERE j.ctid = t.ctid
"""


async def _free(scene: Scene, table: str, lock: str) -> list[UUID]:
    """The rows of a table that nobody holds."""
    return [row["id"] for row in await scene.run(f"SELECT id FROM {table} ORDER BY id {lock} SKIP LOCKED")]


async def assert_locks_in_order(
    scene: Scene, table: str, act: Callable[[], Awaitable[object]], lock: str = "FOR NO KEY UPDATE"
) -> None:
    """`act` must lock all rows of `table`, and by id; `lock` is one that does not go with what it takes."""
    ids = [row["id"] for row in await scene.run(f"SELECT id FROM {table} ORDER BY id")]
    middle = len(ids) // 2
    async with scene.rival() as rival:
        await rival.run(f"SELECT 1 FROM {table} WHERE id = :id {lock}", id=ids[middle])
        acting = asyncio.ensure_future(act())
        await scene.until_blocked()
        free = await _free(scene, table, lock)
    await acting
    assert free == ids[middle + 1 :]


async def _claims(worker: Worker, count: int = COUNT, orchestrations: int = 1) -> list[Claim]:
    """Claims in a random order, of jobs spread over some orchestrations."""
    each = count // orchestrations
    messages = [message for _ in range(orchestrations) for message in messages_for(uuid4(), each)]
    claims = [answer for answer in await worker.answers(*messages) if isinstance(answer, Claim)]
    random.shuffle(claims)
    return claims


async def test_an_update_in_the_order_of_its_plan_would_lock_in_another_order(scene: Scene) -> None:
    claims = await _claims(await scene.worker())
    backwards = sorted((claim.job_id for claim in claims), reverse=True)

    async def update() -> None:
        async with scene.engine.begin() as connection:
            await connection.execute(text("SET LOCAL enable_hashjoin = off"))
            await connection.execute(text("SET LOCAL enable_mergejoin = off"))
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            await connection.execute(text(BY_INPUT), {"ids": backwards})

    with pytest.raises(AssertionError):
        await assert_locks_in_order(scene, "job", update)


async def test_a_claim_locks_jobs_by_id(scene: Scene) -> None:
    worker = await scene.worker()
    claims = await _claims(worker)
    await worker.stored([decided(claim, Failed(BOOM)) for claim in claims])
    messages = [pointer_to(message_for(claim.orchestration_id, claim.index, COUNT)) for claim in claims]
    await assert_locks_in_order(scene, "job", lambda: worker.answers(*messages))


@pytest.mark.parametrize("result", [None, Failed(BOOM, final=True), Failed(BOOM), Interrupted(StopReason.DRAINING)])
async def test_a_settlement_locks_jobs_by_id(scene: Scene, result: Failed | None) -> None:
    worker = await scene.worker()
    settlements = [decided(claim, result) for claim in await _claims(worker)]
    await assert_locks_in_order(scene, "job", lambda: worker.stored(settlements))


async def test_a_settlement_locks_orchestrations_by_id(scene: Scene) -> None:
    worker = await scene.worker()
    settlements = [decided(claim) for claim in await _claims(worker, orchestrations=20)]
    await assert_locks_in_order(scene, "orchestration", lambda: worker.stored(settlements))


async def test_a_rescue_of_several_workers_locks_jobs_by_id(scene: Scene) -> None:
    for _ in range(4):
        await _claims(await scene.worker(), 12, 4)
    rescuer = await scene.worker()
    await scene.run("UPDATE worker SET seen_at = now() - interval '1 hour' WHERE id <> :me", me=rescuer.id)
    await assert_locks_in_order(scene, "job", rescuer.rescue)


async def test_a_rescue_of_several_workers_locks_orchestrations_by_id(scene: Scene) -> None:
    for _ in range(4):
        await _claims(await scene.worker(), 12, 4)
    rescuer = await scene.worker()
    await scene.run("UPDATE worker SET seen_at = now() - interval '1 hour' WHERE id <> :me", me=rescuer.id)
    await assert_locks_in_order(scene, "orchestration", lambda: rescuer.rescue(max_worker_losses=1))


async def test_a_cancel_locks_jobs_by_id(scene: Scene) -> None:
    claims = await _claims(await scene.worker())
    cancel = scene.terminations.cancel
    await assert_locks_in_order(scene, "job", lambda: cancel(claims[0].orchestration_id))


async def test_an_operators_retry_locks_jobs_by_id(scene: Scene) -> None:
    worker = await scene.worker()
    claims = await _claims(worker)
    await worker.stored([decided(claim, Failed(BOOM, final=True)) for claim in claims])
    await scene.run("UPDATE orchestration SET event_published_at = now()")
    retry = scene.retries.retry_failed
    await assert_locks_in_order(scene, "job", lambda: retry(claims[0].orchestration_id))


@pytest.mark.parametrize("what", ["requeue", "mark_first_published"])
async def test_the_relay_and_the_fast_path_lock_jobs_by_id(scene: Scene, what: str) -> None:
    made, due = await scene.kick_off(COUNT), JobOutbox(scene.engine, 3600)
    jobs = random.sample(made.jobs, COUNT)
    acts = {
        "requeue": lambda: due.requeue(jobs),
        "mark_first_published": lambda: due.mark_first_published(jobs),
    }
    await assert_locks_in_order(scene, "job", acts[what])


async def test_progress_locks_jobs_by_id(scene: Scene) -> None:
    buffer = ProgressBuffer(scene.engine, Observer())
    for claim in await _claims(await scene.worker()):
        buffer.progress(claim, Progress(1, 2, None))
    async with writing(buffer):
        await assert_locks_in_order(scene, "job", buffer.flush)


async def _waits_for(scene: Scene, insert: str, value: object) -> bool:
    """Whether an insert of this key has to wait for somebody's."""
    async with scene.engine.connect() as connection:
        await connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
        try:
            await connection.execute(text(insert), {"key": value})
        except DBAPIError as error:
            return sqlstate(error) == "55P03"
        finally:
            await connection.rollback()
    return False


async def test_new_orchestrations_are_made_by_id(scene: Scene) -> None:
    worker = await scene.worker()
    ids = sorted(uuid4() for _ in range(20))
    insert = "INSERT INTO orchestration (id, job_name, total) VALUES (:key, 'count', 1)"
    async with scene.rival() as rival:
        await rival.run(insert, key=ids[10])
        claiming = asyncio.create_task(worker.answers(*[message_for(one) for one in random.sample(ids, 20)]))
        await scene.until_blocked()
        waits = [await _waits_for(scene, insert, ids[n]) for n in (9, 11)]
    assert len(await claiming) == 20
    assert waits == [True, False]


async def test_rejected_messages_are_kept_by_id(scene: Scene) -> None:
    ids = [f"message {n:02}" for n in range(20)]
    insert = "INSERT INTO rejected_message (message_id, reason, text, data, attributes) VALUES (:key, '', '', '', '{}')"
    rejections = [Rejection(one, "r", "t", b"", {}, 0.0, None) for one in random.sample(ids, 20)]
    async with scene.rival() as rival:
        await rival.run(insert, key=ids[10])
        keeping = asyncio.create_task(Rejections(scene.engine).write(rejections))
        await scene.until_blocked()
        waits = [await _waits_for(scene, insert, ids[n]) for n in (9, 11)]
    await keeping
    assert waits == [True, False]


@pytest.fixture
async def impatient(scene_url: str) -> AsyncIterator[Scene]:
    """A scene whose sessions look for deadlocks at once."""
    engine = async_engine(f"{scene_url}{'&' if '?' in scene_url else '?'}options=-c%20deadlock_timeout%3D30ms", 30)
    scene = Scene(engine, scene_url)
    await scene.clear()
    yield scene
    await engine.dispose()


async def test_claims_settlements_rescues_cancels_and_the_relay_never_deadlock(impatient: Scene) -> None:
    scene, end = impatient, asyncio.get_running_loop().time() + 3
    orchestrations = [(await scene.kick_off(40)).id for _ in range(12)]
    pointers = [pointer_to(message_for(one, index, 40)) for one in orchestrations[:10] for index in range(40)]
    due, rounds = JobOutbox(scene.engine, 3600), 0

    async def work() -> None:
        nonlocal rounds
        worker = await scene.worker()
        while asyncio.get_running_loop().time() < end:
            answers = await worker.answers(*random.sample(pointers, 100))
            claims = [answer for answer in answers if isinstance(answer, Claim)]
            random.shuffle(claims)
            results = [random.choice([Interrupted(StopReason.DRAINING), Failed(BOOM)]) for _ in claims]
            results = [None if random.random() < 0.05 else result for result in results]
            settlements = [decided(*pair) for pair in zip(claims, results, strict=True) if random.random() < 0.9]
            await worker.stored(settlements)
            rounds += 1

    async def rescue() -> None:
        rescuer = await scene.worker()
        while asyncio.get_running_loop().time() < end:
            for _ in range(2):
                doomed = await scene.worker()
                await doomed.answers(*random.sample(pointers, 20))
                await scene.silence(doomed)
            await rescuer.rescue(max_worker_losses=1000)

    async def relay() -> None:
        while asyncio.get_running_loop().time() < end:
            await due.requeue(random.sample(leased := await due.lease(50), len(leased)))

    async def cancel() -> None:
        for one in orchestrations[2:8]:
            await scene.terminations.cancel(one)

    await asyncio.gather(work(), work(), work(), rescue(), relay(), cancel())
    assert rounds > 5
