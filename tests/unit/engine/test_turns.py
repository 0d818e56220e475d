"""Handlers with a `concurrency`: how many run at once, and what waits for its turn before it is claimed."""

from __future__ import annotations

import asyncio

import pytest

from daemon.engine.attempt import Attempt
from daemon.engine.pipeline import Pipeline
from daemon.job import Claim, ClaimAnswer, JobMessage, Settled, Settlement, StopReason
from daemon.registry import Registry
from tests.fakes.delivery import FakeDelivery, a_claim, a_handler
from tests.fakes.observer import Listening
from tests.harness.waiting import until
from tests.unit.engine.attempts import a_runner


class Claiming:
    """A store that gives every claim, and remembers them."""

    def __init__(self) -> None:
        self.claimed: list[str] = []
        self.settled: list[Settlement] = []

    async def claim(self, message: JobMessage) -> ClaimAnswer:
        self.claimed.append(message.message_id)
        return a_claim()

    async def settle(self, claim: Claim, settlement: Settlement) -> Settled:
        self.settled.append(settlement)
        return Settled.STORED

    async def reject(self, delivery: FakeDelivery, reason: str, text: str, instance: JobMessage | None) -> None:
        raise AssertionError(reason)


class Limited:
    """A pipeline whose only handler waits for a gate, `concurrency` of them at a time."""

    def __init__(
        self, concurrency: int | None, timeout: float | None = None, places: dict[str, int] | None = None
    ) -> None:
        self.running = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.store = Claiming()

        async def handle(params: dict[str, object]) -> None:
            await self._handle()

        handler = a_handler(handle, concurrency=concurrency, timeout=timeout)
        registry = Registry({"paint": handler})
        self._pipeline = Pipeline(self.store, a_runner(), registry, Listening(), 300, lambda: 0.5, places=places or {})

    async def _handle(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1

    async def process(self, delivery: FakeDelivery, attempt: Attempt) -> None:
        try:
            await self._pipeline.process(delivery, attempt)
        finally:
            attempt.handler_done()


@pytest.mark.parametrize(
    ("concurrency", "places"), [(2, {}), (None, {"async": 2}), (3, {"async": 2}), (2, {"async": 3, "process": 1})]
)
async def test_at_most_so_many_of_a_name_and_an_executor_run_at_once_and_what_waits_is_not_claimed(
    concurrency: int | None, places: dict[str, int]
) -> None:
    limited, deliveries = Limited(concurrency, None, places), [FakeDelivery(message_id=str(n)) for n in range(6)]
    tasks = [asyncio.create_task(limited.process(delivery, Attempt())) for delivery in deliveries]
    await until(lambda: limited.running == 2)
    assert limited.store.claimed == ["0", "1"]
    limited.gate.set()
    await asyncio.gather(*tasks)
    assert limited.most == 2
    assert [delivery.reply for delivery in deliveries] == ["ack"] * 6


async def test_a_job_that_is_asked_to_stop_while_it_waits_for_its_turn_goes_back_unclaimed() -> None:
    limited, first, second, waits = Limited(1), FakeDelivery(), FakeDelivery(message_id="2"), Attempt()
    running = asyncio.create_task(limited.process(first, Attempt()))
    await until(lambda: limited.running == 1)
    waiting = asyncio.create_task(limited.process(second, waits))
    await until(lambda: waits.waiting)
    waits.stop(StopReason.DRAINING)
    await waiting
    assert (second.reply, limited.store.claimed) == ("nack", ["1"])
    limited.gate.set()
    await running
    third = FakeDelivery(message_id="3")
    await limited.process(third, Attempt())
    assert (first.reply, third.reply) == ("ack", "ack"), "the turn of the one that gave up is free again"


async def test_an_attempt_that_was_asked_to_stop_before_its_turn_does_not_take_it() -> None:
    limited, attempt, delivery = Limited(1), Attempt(), FakeDelivery()
    attempt.stop(StopReason.DRAINING)
    await limited.process(delivery, attempt)
    assert (delivery.reply, limited.store.claimed) == ("nack", [])


async def test_the_timeout_does_not_count_the_wait_for_a_turn() -> None:
    limited, waits = Limited(1, timeout=0.2), Attempt()
    first = asyncio.create_task(limited.process(FakeDelivery(), Attempt()))
    await until(lambda: limited.running == 1)
    second = asyncio.create_task(limited.process(FakeDelivery(message_id="2"), waits))
    await first  # cut at its timeout
    await until(lambda: waits.claim is not None and waits.is_running)
    limited.gate.set()
    await second
    assert [settlement.error is None for settlement in limited.store.settled] == [False, True]
