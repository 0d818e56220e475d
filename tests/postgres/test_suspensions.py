"""Jobs that are suspended, and the signals that they wait for: nothing is held meanwhile, and none is forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.job import Action, Cause, Claim, Failed, Refusal, Refused, Settled, Unknown
from daemon.observe import Observer
from daemon.postgres.database import async_engine
from daemon.postgres.maintenance import Ages, Maintenance
from daemon.postgres.outbox import JobOutbox
from daemon.postgres.queries import Queries
from daemon.postgres.signals import Signals
from daemon.postgres.steps import DurableSteps
from daemon.postgres.suspensions import Suspensions
from daemon.postgres.sweep import verify
from daemon.recorder import RecordedStep, StepKind, WaitAnswer
from daemon.rules.limits import JobLimit
from daemon.suspension import Suspension
from tests.postgres.cutting_proxy import CuttingProxy
from tests.postgres.scene import BOOM, TTL, Scene, decided, message_for, pointer_to, writing

WAIT = RecordedStep("approved", 1, None, StepKind.WAIT)
HOUR = 3600.0
EARLY = Refused(Refusal.NOT_DUE, Cause.DUPLICATE_PUBLISH)


async def waits(scene: Scene, claim: Claim, step: RecordedStep = WAIT, signal: str = "approved") -> WaitAnswer:
    """What an attempt finds that waits for a signal."""
    steps = DurableSteps(scene.engine, Observer())
    async with writing(steps):
        answer = await steps.wait_for(claim, step, signal)
    assert answer is not None
    return answer


async def suspend(
    scene: Scene, claim: Claim, delay: float = HOUR, *, seen: int | None = None, engine: AsyncEngine | None = None
) -> Settled:
    """End an attempt that sleeps, or one that waits and has seen so many signals."""
    suspension = Suspension(delay) if seen is None else Suspension(delay, "approved", seen)
    return (await Suspensions(engine or scene.engine).write([decided(claim, suspension)]))[0]


async def send(scene: Scene, job_id: UUID, payload: str = "true", signal_id: str | None = None) -> bool:
    return await Signals(scene.engine).send(signal_id or uuid4().hex, job_id, "approved", payload)


async def verdict(scene: Scene, job_id: UUID) -> str | None:
    found = (await Queries(scene.engine, TTL).explain_job(job_id)).verdict
    return found and found.word


async def test_a_sleeping_job_holds_nothing_and_is_due_when_it_wakes(scene: Scene) -> None:
    worker, message = await scene.worker([JobLimit("count", "count", "", "", 1)]), message_for(uuid4())
    claim = await worker.claim(message)
    assert await scene.value("count(*) FROM permit") == 1
    assert await suspend(scene, claim) is Settled.STORED
    row = await scene.job(message.job_id)
    assert (row["worker_id"], row["suspensions"], row["failures"], row["losses"]) == (None, 1, 0, 0)
    assert row["due_in"] == pytest.approx(HOUR, abs=30)
    assert await scene.value("count(*) FROM permit") == 0
    assert await scene.history(message.job_id) == []
    assert await worker.answer(pointer_to(message)) == EARLY
    assert await verdict(scene, message.job_id) == "SLEEPING"
    await scene.run("UPDATE job SET not_before = now(), publish_at = now()")
    again = await worker.claim(pointer_to(message))
    assert (again.attempt, again.cause) == (2, "resumed")


async def test_a_stale_attempt_suspends_nothing(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    stale = await worker.claim(message)
    await worker.settle(stale, Failed(BOOM))
    current = await worker.claim(pointer_to(message))
    assert await suspend(scene, stale) is Settled.STALE
    assert (await scene.job(message.job_id))["worker_id"] == worker.id
    assert await suspend(scene, current) is Settled.STORED


async def test_a_suspension_whose_answer_is_lost_is_counted_once(scene: Scene) -> None:
    worker = await scene.worker()
    claim = await worker.claim(message_for(uuid4()))
    async with CuttingProxy(scene.url).running() as proxy:
        engine = async_engine(proxy.url, 2)
        proxy.cut_after(b"suspensions + 1")
        with pytest.raises(DBAPIError):
            await suspend(scene, claim, engine=engine)
        assert proxy.cuts == 1
        assert await suspend(scene, claim, engine=engine) is Settled.STORED
        await engine.dispose()
    assert (await scene.job(claim.job_id))["suspensions"] == 1


async def test_a_signal_wakes_the_job_that_waits_for_it_and_is_taken_once(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    claim = await worker.claim(message)
    answer = await waits(scene, claim)
    assert (answer.step.kind, answer.step.due_in, answer.signals) == (StepKind.WAIT, None, 0)
    await suspend(scene, claim, seen=0)
    assert await verdict(scene, message.job_id) == "WAITING_SIGNAL"
    assert await send(scene, message.job_id, '{"by": "eve"}')
    again = await worker.claim(pointer_to(message))
    taken = await waits(scene, again)
    assert (taken.step.kind, taken.step.result) == (StepKind.SIGNAL, '{"by": "eve"}')
    second = RecordedStep("again", 2, None, StepKind.WAIT)
    assert (await waits(scene, again, second)).step.kind is StepKind.WAIT, "the signal is taken"
    assert (await waits(scene, again)).step == taken.step, "and stays what that step got"


async def test_a_signal_that_comes_while_the_job_parks_lets_it_go_on_at_once(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    claim = await worker.claim(message)
    seen = (await waits(scene, claim)).signals
    await send(scene, message.job_id)
    assert await suspend(scene, claim, seen=seen) is Settled.STORED
    assert (await scene.job(message.job_id))["due"]
    assert (await waits(scene, await worker.claim(pointer_to(message)))).step.kind is StepKind.SIGNAL


async def test_a_wait_that_looks_while_a_signal_is_counted_sees_it(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    claim = await worker.claim(message)
    async with scene.rival() as rival:
        await rival.run("SELECT FROM job FOR NO KEY UPDATE")
        looking = asyncio.create_task(waits(scene, claim))
        await scene.until_blocked()
        await rival.run(
            "INSERT INTO signal (id, job_id, name, payload) VALUES ('s', :id, 'approved', '1')", id=message.job_id
        )
        await rival.commit()
    assert (await looking).step.kind is StepKind.SIGNAL


async def test_a_signal_sent_before_its_job_is_known_waits_for_it(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    assert await send(scene, message.job_id, "7") is True
    assert (await waits(scene, await worker.claim(message))).step.result == "7"


async def test_a_signal_sent_twice_is_one(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    for payload in ("1", "2"):
        await send(scene, message.job_id, payload, "the same")
    claim = await worker.claim(message)
    assert (await waits(scene, claim)).step.result == "1"
    assert (await waits(scene, claim, RecordedStep("second", 2, None, StepKind.WAIT))).step.kind is StepKind.WAIT


async def test_a_signal_to_a_job_that_has_ended_says_so(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    await worker.settle(await worker.claim(message))
    assert await send(scene, message.job_id) is False


async def test_a_signal_for_something_else_does_not_wake_the_job(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    await suspend(scene, await worker.claim(message), seen=0)
    assert await Signals(scene.engine).send("x", message.job_id, "paid", "1")
    assert await worker.answer(pointer_to(message)) == EARLY


async def test_the_fleet_counts_a_signal_whose_sender_ended_half_way(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    await suspend(scene, await worker.claim(message), seen=0)
    half = """INSERT INTO signal (id, job_id, name, payload, sent_at)
              VALUES ('half', :id, 'approved', '1', now() - interval '1 minute')"""
    await scene.run(half, id=message.job_id)
    assert not (await scene.job(message.job_id))["due"]
    await Signals(scene.engine).count_stored()
    assert (await scene.job(message.job_id))["due"]
    await Signals(scene.engine).count_stored()
    assert (await scene.job(message.job_id))["signals"] == 1


async def test_a_wait_times_out_by_the_clock_of_the_database(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    limited = RecordedStep("approved", 1, None, StepKind.WAIT, HOUR)
    claim = await worker.claim(message)
    assert (await waits(scene, claim, limited)).step.due_in == pytest.approx(HOUR, abs=30)
    await scene.run("UPDATE durable_step SET due_at = now() - interval '1 second'")
    assert (await waits(scene, claim, limited)).step.kind is StepKind.TIMEOUT
    await send(scene, message.job_id)
    assert (await waits(scene, claim, limited)).step.kind is StepKind.TIMEOUT, "what it was told stays"


async def test_signals_of_ended_jobs_are_pruned_and_those_of_others_kept(scene: Scene) -> None:
    worker, ended, unfinished = await scene.worker(), message_for(uuid4()), message_for(uuid4())
    await worker.settle(await worker.claim(ended))
    await worker.claim(unfinished)
    for message in (ended, unfinished):
        await send(scene, message.job_id)
    await scene.run("UPDATE signal SET sent_at = now() - interval '9 days'")
    assert (await Maintenance(scene.engine).prune(Ages(completed=86_400.0, failed=86_400.0))).signals == 1
    assert await scene.value("job_id FROM signal") == unfinished.job_id


async def test_a_retry_waits_anew_where_a_timeout_had_ended_the_job(scene: Scene) -> None:
    worker, made = await scene.worker(), await scene.kick_off()
    message = made.jobs[0].message
    claim = await worker.claim(message)
    await waits(scene, claim, RecordedStep("first", 1, None, StepKind.WAIT, HOUR))
    await waits(scene, claim, RecordedStep("last", 2, None, StepKind.WAIT, HOUR))
    await scene.run("UPDATE durable_step SET kind = 'timeout'")
    await worker.settle(claim, Failed(BOOM, final=True))
    await scene.publish_events()
    await scene.retries.retry_failed(made.id)
    assert [row["name"] for row in await scene.run("SELECT name FROM durable_step")] == ["first"]


async def test_verify_names_a_job_that_waits_for_a_signal_that_it_has(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    await suspend(scene, await worker.claim(message), seen=0)
    forgotten = """INSERT INTO signal (id, job_id, name, payload, sent_at, counted_at)
                   VALUES ('x', :id, 'approved', '1', now() - interval '1 hour', now())"""
    await scene.run(forgotten, id=message.job_id)
    (found,) = await verify(scene.engine, TTL)
    assert (found.check, found.id) == ("forgotten_signals", str(message.job_id))


async def test_a_job_that_waited_often_has_the_grace_of_any_other_while_its_handler_is_unknown(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    claim = await worker.claim(message)
    await scene.run("UPDATE job SET attempt = 90, suspensions = 89, created_at = now() - interval '9 days'")
    await worker.store(replace(decided(claim, Failed(BOOM)), attempt=90))
    again = await worker.claim(pointer_to(message))
    assert decided(again, Unknown(())).action is Action.RETRY


async def test_an_orchestration_with_a_suspended_job_does_not_count_as_stuck(scene: Scene) -> None:
    worker, message = await scene.worker(), message_for(uuid4())
    claim = await worker.claim(message)
    await scene.run("UPDATE orchestration SET created_at = now() - interval '3 days'")
    outbox = JobOutbox(scene.engine, HOUR)
    assert (await outbox.backlog()).oldest_unfinished > 2 * 86_400
    await suspend(scene, claim, seen=0)
    assert (await outbox.backlog()).oldest_unfinished == 0
    await send(scene, message.job_id)
    assert (await outbox.backlog()).oldest_unfinished > 2 * 86_400
