"""Values that Postgres, JSON or the driver refuse, through the whole store: each fails alone, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from uuid import uuid4

import pytest

from daemon.job import Claim, Failed, JobError, Kind, Progress, Returned, Settled, Settlement
from daemon.observe import Observer
from daemon.postgres.store import Store
from daemon.rules.lifecycle import RetryPolicy
from daemon.rules.retry import Backoff
from tests.postgres.scene import BOOM, TTL, Scene, decided, message_for, messages_for

MEGABYTE = 1024 * 1024
BAD_PARAMS = {
    "a NUL": '{"a": "\x00"}',
    "a lone surrogate": '{"a": "\ud800"}',
    "no JSON": "{",
    "NaN": '{"a": NaN}',
    "too deep": "[" * 100_000 + "]" * 100_000,
}
GOOD_PARAMS = {
    "10 MB": '{"a": "%s"}' % ("x" * 10 * MEGABYTE),
    "a number beyond 64 bits": '{"a": 9223372036854775808}',
    "a number of 1,000 digits": '{"a": %s}' % ("9" * 1000),
    "a long fraction": '{"a": 0.1000000000000000055511151231257827}',
    "an escaped lone surrogate": '{"a": "\\ud800"}',
    "all planes": '{"a": "\N{PILE OF POO}\U0010fffd"}',
    "keys twice, spaces kept": '{"a": 1,  "a": 2}',
}


@dataclass
class Refusals(Observer):
    """Which operations refused an item."""

    operations: list[str] = field(default_factory=list)

    def item_rejected(self, operation: str, error: BaseException) -> None:
        self.operations.append(operation)


@dataclass
class Desk:
    """A running store, as a worker has it."""

    store: Store
    heard: Refusals
    scene: Scene

    async def claimed(self, count: int) -> list[Claim]:
        answers = await asyncio.gather(*[self.store.claim(one) for one in messages_for(uuid4(), count)])
        return [answer for answer in answers if isinstance(answer, Claim)]


@pytest.fixture
async def desk(scene: Scene) -> AsyncIterator[Desk]:
    worker, heard = await scene.worker(), Refusals()
    store = Store(scene.engine, lambda: worker.id, TTL, heard, completed=lambda: None, on_unavailable=lambda away: None)
    running = asyncio.create_task(store.run())
    yield Desk(store, heard, scene)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("name", BAD_PARAMS)
async def test_params_that_cannot_be_stored_fail_alone(desk: Desk, name: str) -> None:
    messages = messages_for(uuid4(), 9)
    messages[4] = replace(messages[4], params=BAD_PARAMS[name])
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*[desk.store.claim(one) for one in messages], return_exceptions=True)
    assert [isinstance(answer, Claim) for answer in answers] == [n != 4 for n in range(9)]
    assert desk.heard.operations == ["claim"]
    assert not desk.store.unavailable


@pytest.mark.parametrize("name", GOOD_PARAMS)
async def test_params_are_kept_to_the_letter(desk: Desk, name: str) -> None:
    message = message_for(uuid4(), params=GOOD_PARAMS[name])
    async with asyncio.timeout(20):
        claim = await desk.store.claim(message)
    assert isinstance(claim, Claim)
    assert claim.params == message.params
    await desk.store.settle(claim, decided(claim))
    assert await desk.scene.value("params::text FROM job") == message.params


@pytest.mark.parametrize("name", BAD_PARAMS)
async def test_a_result_that_cannot_be_stored_fails_alone(desk: Desk, name: str) -> None:
    claims = await desk.claimed(9)
    settlements = [decided(claim, Returned(BAD_PARAMS[name] if n == 4 else '"ok"')) for n, claim in enumerate(claims)]
    async with asyncio.timeout(5):
        pairs = zip(claims, settlements, strict=True)
        answers = await asyncio.gather(*[desk.store.settle(*pair) for pair in pairs], return_exceptions=True)
    assert [answer is Settled.STORED for answer in answers] == [n != 4 for n in range(9)]
    whole = await desk.scene.orchestration(claims[0].orchestration_id)
    assert (whole["completed"], whole["errored"]) == (8, 0)


async def test_results_that_are_lists_are_not_mixed_up_within_a_batch(desk: Desk) -> None:
    claims = await desk.claimed(3)
    results = ['["a1","a2"]', '["b1","b2"]', "[[1],[2]]"]
    pairs = [(claim, decided(claim, Returned(result))) for claim, result in zip(claims, results, strict=True)]
    await asyncio.gather(*[desk.store.settle(*pair) for pair in pairs])
    for claim, result in zip(claims, results, strict=True):
        assert await desk.scene.value("result::text FROM job WHERE id = :id", id=claim.job_id) == result


async def test_a_huge_error_with_nuls_and_surrogates_is_stored_shortened(desk: Desk) -> None:
    (claim,) = await desk.claimed(1)
    nasty = "\x00\ud800" + "x" * 5 * MEGABYTE + "the end"
    failed = Failed(JobError(Kind.RAISED, nasty, nasty), final=True)
    async with asyncio.timeout(5):
        assert await desk.store.settle(claim, decided(claim, failed)) is Settled.STORED
    error = (await desk.scene.job(claim.job_id))["error"]
    assert len(error["message"]) < 21_000
    assert error["message"].endswith("the end")
    assert "characters left out" in error["traceback"]


@pytest.mark.parametrize("delay", [1e300, 1e13, float("inf"), float("nan")])
async def test_a_delay_beyond_the_calendar_fails_alone(desk: Desk, delay: float) -> None:
    claims = await desk.claimed(2)
    endless = replace(decided(claims[0], Failed(BOOM)), delay=delay)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            desk.store.settle(claims[0], endless),
            desk.store.settle(claims[1], decided(claims[1])),
            return_exceptions=True,
        )
    assert isinstance(answers[0], Exception)
    assert answers[1] is Settled.STORED


async def test_whole_and_fractional_delays_meet_in_one_batch(desk: Desk) -> None:
    claims = await desk.claimed(3)
    policy = RetryPolicy(5, Backoff(initial=2, factor=2, maximum=300, jitter=False))
    settlements: list[Settlement] = [
        decided(claims[0], Failed(BOOM, retry_in=5)),
        decided(claims[1], Failed(BOOM), policy),
        decided(claims[2]),
    ]
    pairs = zip(claims, settlements, strict=True)
    assert await asyncio.gather(*[desk.store.settle(*pair) for pair in pairs]) == [Settled.STORED] * 3
    assert desk.heard.operations == []
    due_in = [(await desk.scene.job(claim.job_id))["due_in"] for claim in claims[:2]]
    assert due_in == pytest.approx([5, 2], abs=1.4)


async def test_whole_and_fractional_progress_meet_in_one_batch(desk: Desk) -> None:
    claims = await desk.claimed(3)
    for claim, progress in zip(
        claims, [Progress(3, 6, None), Progress(0.5, 1.0, "half"), Progress(None, None, "?")], strict=True
    ):
        desk.store.progress.progress(claim, progress)
    await desk.store.progress.flush()
    assert [(await desk.scene.job(claim.job_id))["progress_current"] for claim in claims] == [3, 0.5, None]


async def test_words_that_cannot_be_stored_are_dropped_alone_and_change_no_outcome(desk: Desk) -> None:
    claims = await desk.claimed(3)
    records = desk.store.progress
    records.progress(claims[0], Progress(10**400, None, "beyond a float"))
    records.progress(claims[1], Progress(1, 2, "a NUL: \x00"))
    records.note(claims[1], "a lone surrogate: \ud800")
    records.progress(claims[2], Progress(1, 2, "fine"))
    records.note(claims[2], "fine too")
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*[desk.store.settle(claim, decided(claim)) for claim in claims])
    assert answers == [Settled.STORED] * 3
    assert desk.heard.operations == ["record"] * 3
    assert (await desk.scene.job(claims[2].job_id))["progress_message"] == "fine"
    assert [row["text"] for row in await desk.scene.run("SELECT text FROM progress_note")] == ["fine too"]


async def test_a_checkpoint_that_cannot_be_stored_fails_alone(desk: Desk) -> None:
    claims = await desk.claimed(2)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            desk.store.progress.save(claims[0], '"\x00"'),
            desk.store.progress.save(claims[1], "7"),
            return_exceptions=True,
        )
    assert isinstance(answers[0], Exception)
    assert answers[1] is True


async def test_two_jobs_that_want_one_index_are_told_apart(desk: Desk) -> None:
    orchestration = uuid4()
    messages = [message_for(orchestration, 1, 3, job_id=uuid4()) for _ in range(2)]
    others = messages_for(orchestration, 1)
    others = [replace(others[0], count=3)]
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*[desk.store.claim(one) for one in messages + others])
    assert isinstance(answers[2], Claim)
    assert sorted(type(answer).__name__ for answer in answers[:2]) == ["Claim", "Conflict"]
    assert desk.heard.operations == []
