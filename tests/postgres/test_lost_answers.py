"""A commit whose answer is lost is a normal case: every operation is tried through a proxy that cuts the link then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from daemon.errors import RequestRefused
from daemon.job import Claim, Failed, JobMessage, Settled
from daemon.observe import Observer
from daemon.orchestration import NewOrchestration
from daemon.postgres.claims import ClaimRequest
from daemon.postgres.database import async_engine, passes
from daemon.postgres.orchestrations import Orchestrations
from daemon.postgres.outbox import PUBLISHING_SECONDS, JobOutbox
from daemon.postgres.rejections import Rejection, Rejections
from daemon.postgres.rescue import Rescue
from daemon.postgres.retries import Retries
from daemon.postgres.store import Store
from daemon.postgres.terminations import Terminations
from tests.postgres.cutting_proxy import CuttingProxy
from tests.postgres.scene import BOOM, GAP, TTL, Scene, Worker, decided, message_for, messages_for

SETTLE = b"counted AS ("


@dataclass
class Line:
    """A worker's store that reaches Postgres over the proxy; the scene itself sees the database directly."""

    proxy: CuttingProxy
    store: Store
    worker: Worker
    scene: Scene


@pytest.fixture
async def line(scene: Scene) -> AsyncIterator[Line]:
    async with CuttingProxy(scene.url).running() as proxy:
        worker = await scene.worker()
        away = Worker(worker.id, async_engine(proxy.url, 5))
        store = Store(
            away.engine, lambda: worker.id, TTL, Observer(), completed=lambda: None, on_unavailable=lambda _: None
        )
        running = asyncio.create_task(store.run())
        yield Line(proxy, store, away, scene)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await away.engine.dispose()


async def claimed(line: Line, messages: list[JobMessage]) -> list[Claim]:
    answers = await asyncio.gather(*[line.store.claim(message) for message in messages])
    return [answer for answer in answers if isinstance(answer, Claim)]


async def test_a_claim_whose_answer_was_lost_is_answered_as_given(line: Line) -> None:
    messages = messages_for(uuid4(), 5)
    line.proxy.cut_after(b"COMMIT")
    claims = await claimed(line, messages)
    assert line.proxy.cuts == 1
    assert [claim.attempt for claim in claims] == [1] * 5
    assert [claim.params for claim in claims] == [message.params for message in messages]
    assert await line.scene.value("max(attempt) FROM job") == 1


async def test_a_repeated_claim_that_is_not_ours_is_refused_as_held(line: Line) -> None:
    """The same token is asked for only by the same batch: a redelivery of the message gets no second claim."""
    message = message_for(uuid4())
    line.proxy.cut_after(b"COMMIT")
    with pytest.raises(psycopg.OperationalError):
        await line.worker.answer(message)
    redelivered = await line.worker.answer(replace(message))
    assert type(redelivered).__name__ == "Refused"


async def test_a_part_of_a_repeated_batch_recognises_what_it_has_claimed(scene: Scene) -> None:
    """A batch that was committed, its answer lost, is split: each half finds its jobs by the requests' tokens."""
    worker = await scene.worker()
    requests = [ClaimRequest(message) for message in messages_for(uuid4(), 4)]
    claims = [answer for answer in await worker.asked(requests) if isinstance(answer, Claim)]
    halves = [*await worker.asked(requests[2:]), *await worker.asked(requests[:2])]
    again = [answer for answer in halves if isinstance(answer, Claim)]
    assert [(claim.job_id, claim.attempt) for claim in again] == [(claims[i].job_id, 1) for i in (2, 3, 0, 1)]


async def test_a_lost_claim_answer_among_messages_of_others_gives_only_what_is_ours(line: Line) -> None:
    other = await line.scene.worker()
    messages = messages_for(uuid4(), 4)
    await other.claim(messages[0])
    line.proxy.cut_after(b"COMMIT")
    answers = await asyncio.gather(*[line.store.claim(replace(message)) for message in messages])
    assert [isinstance(answer, Claim) for answer in answers] == [False, True, True, True]


@pytest.mark.parametrize("result", [None, Failed(BOOM, final=True), Failed(BOOM)], ids=["completed", "failed", "retry"])
async def test_a_settlement_whose_answer_was_lost_is_stored_once(line: Line, result: Failed | None) -> None:
    claims = await claimed(line, messages_for(uuid4(), 5))
    line.proxy.cut_after(SETTLE)
    settled = await asyncio.gather(*[line.store.settle(claim, decided(claim, result)) for claim in claims])
    assert line.proxy.cuts == 1
    assert settled == [Settled.STORED] * 5
    whole = await line.scene.orchestration(claims[0].orchestration_id)
    ended = 0 if result is not None and not result.final else 5
    assert whole["completed"] + whole["errored"] == whole["finishes"] == ended
    assert await line.scene.value("max(failures) FROM job") == (result is not None)


async def test_the_relay_hears_of_a_completion_although_its_answer_was_lost(scene: Scene) -> None:
    heard: list[bool] = []
    worker = await scene.worker()
    async with CuttingProxy(scene.url).running() as proxy:
        engine = async_engine(proxy.url, 2)
        store = Store(
            engine,
            lambda: worker.id,
            TTL,
            Observer(),
            completed=lambda: heard.append(True),
            on_unavailable=lambda _: None,
        )
        running = asyncio.create_task(store.run())
        claim = await worker.claim(message_for(uuid4()))
        proxy.cut_after(SETTLE)
        await store.settle(claim, decided(claim))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await engine.dispose()
    assert heard == [True]


async def test_a_kick_off_with_a_key_is_made_once(line: Line) -> None:
    orchestrations = Orchestrations(line.worker.engine)
    new = NewOrchestration(uuid4(), "count", ["{}"] * 3, {}, idempotency_key="order 7")
    line.proxy.cut_after(b"COMMIT")
    with pytest.raises(DBAPIError) as lost:
        await orchestrations.create(new)
    assert passes(lost.value)
    again = await orchestrations.create(replace(new, id=uuid4()))
    assert (again.id, again.is_new, again.jobs) == (new.id, False, ())
    assert await line.scene.value("count(*) FROM job") == 3
    with pytest.raises(RequestRefused, match="order 7"):
        await orchestrations.create(replace(new, id=uuid4(), params=["{}"]))


async def test_two_kick_offs_with_one_key_at_the_same_time_are_one(scene: Scene) -> None:
    new = NewOrchestration(uuid4(), "count", ["{}"] * 3, {}, idempotency_key="order 8")
    made = await asyncio.gather(*[scene.orchestrations.create(replace(new, id=uuid4())) for _ in range(5)])
    assert len({one.id for one in made}) == 1
    assert sorted(one.is_new for one in made) == [False] * 4 + [True]


async def test_a_rescue_whose_answer_was_lost_counts_one_loss(line: Line) -> None:
    dead = await line.scene.worker()
    claim = await dead.claim(message_for(uuid4()))
    rescue = Rescue(line.worker.engine, lambda: line.worker.id, TTL, GAP, 3)
    assert await rescue.rescue() == []
    await line.scene.silence(dead)
    line.proxy.cut_after(b"ORDER BY id\nLIMIT 20000")  # armed within the transaction: the next idle is its COMMIT
    with pytest.raises(DBAPIError):
        await rescue.rescue()
    assert line.proxy.cuts == 1
    assert await rescue.rescue() == []
    row = await line.scene.job(claim.job_id)
    assert (row["losses"], row["worker_id"], row["due"]) == (1, None, True)
    assert await line.scene.history(claim.job_id) == [(1, "WorkerLost")]


async def test_an_operators_retry_whose_answer_was_lost_reopens_once(line: Line) -> None:
    claims = await claimed(line, messages_for(uuid4(), 2))
    for claim in claims:
        await line.store.settle(claim, decided(claim, Failed(BOOM, final=True)))
    await line.scene.run("UPDATE orchestration SET event_published_at = now()")
    retries = Retries(line.worker.engine)
    line.proxy.cut_after(b"COMMIT")
    assert await retries.retry_failed(claims[0].orchestration_id) == 2
    assert line.proxy.cuts == 1
    with pytest.raises(RequestRefused, match=r"not finished \(generation 2 runs\)"):
        await retries.retry_failed(claims[0].orchestration_id)
    whole = await line.scene.orchestration(claims[0].orchestration_id)
    assert (whole["generation"], whole["errored"], await line.scene.value("max(attempt) FROM job")) == (2, 0, 2)


async def test_notes_whose_answer_was_lost_are_written_once_and_in_order(line: Line) -> None:
    first, second = await claimed(line, messages_for(uuid4(), 2))
    records = line.store.progress
    records.note(first, "before")
    await records.flush()
    for number in range(3):
        records.note(first, f"first {number}")
        records.note(second, "the same words")
    line.proxy.cut_after(b"INSERT INTO progress_note")
    await records.flush()
    assert line.proxy.cuts == 1
    records.note(second, "the same words")
    records.note(first, "after")
    await records.flush()
    rows = await line.scene.run("SELECT job_id, text FROM progress_note ORDER BY id")
    of_first = [row["text"] for row in rows if row["job_id"] == first.job_id]
    assert of_first == ["before", "first 0", "first 1", "first 2", "after"]
    assert [row["text"] for row in rows if row["job_id"] == second.job_id] == ["the same words"] * 4


async def test_notes_that_were_written_before_a_bad_one_stopped_the_rest_are_not_written_again(line: Line) -> None:
    (claim,) = await claimed(line, messages_for(uuid4(), 1))
    records = line.store.progress
    for text in ("one", "two", "a lone surrogate: \ud800", "four"):
        records.note(claim, text)
    line.proxy.cut_after(b"four")
    await records.flush()
    assert line.proxy.cuts == 1
    rows = await line.scene.run("SELECT text FROM progress_note ORDER BY id")
    assert [row["text"] for row in rows] == ["one", "two", "four"]


async def test_a_cancel_whose_answer_was_lost_goes_on_where_it_was(line: Line) -> None:
    made = await line.scene.kick_off(3)
    orchestrations = Terminations(line.worker.engine)
    line.proxy.cut_after(b"COMMIT")
    with pytest.raises(DBAPIError):
        await orchestrations.cancel(made.id)
    assert await orchestrations.cancel(made.id) == 3
    assert (await line.scene.orchestration(made.id))["errored"] == 3


async def test_a_lease_whose_answer_was_lost_leaves_a_date_behind(line: Line) -> None:
    made = await line.scene.kick_off()
    await line.scene.run("UPDATE job SET publish_at = now()")
    line.proxy.cut_after(b"SKIP LOCKED")
    with pytest.raises(DBAPIError):
        await JobOutbox(line.worker.engine, 60).lease(10)
    assert (await line.scene.job(made.jobs[0].message.job_id))["due_in"] <= PUBLISHING_SECONDS


async def test_a_rejection_whose_answer_was_lost_is_kept_once(line: Line) -> None:
    message = message_for(uuid4())
    rejection = Rejection("m", "r", "t", b"", {}, 0.0, message)
    line.proxy.cut_after(b"COMMIT")
    with pytest.raises(DBAPIError):
        await Rejections(line.worker.engine).write([rejection])
    await Rejections(line.worker.engine).write([rejection])
    assert await line.scene.value("count(*) FROM rejected_message") == 1
    assert (await line.scene.orchestration(message.orchestration_id))["errored"] == 1
