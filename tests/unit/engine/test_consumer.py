"""The slots of a worker: bounded, refilled in order, given back when nobody can take them."""

from __future__ import annotations

import asyncio

import pytest

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.consumer import Consumer
from tests.fakes.delivery import FakeDelivery
from tests.fakes.observer import Listening
from tests.harness.waiting import until
from tests.unit.engine.clock import Clock


class Gate:
    """A pipeline whose deliveries wait until the test lets them end."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.most = 0
        self.running = 0
        self._open = asyncio.Event()

    async def process(self, delivery: FakeDelivery, attempt: Attempt) -> None:
        self.started.append(delivery.message_id)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self._open.wait()
            delivery.ack()
        finally:
            self.running -= 1

    def open(self) -> None:
        self._open.set()


class Broken:
    """A pipeline that raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def process(self, delivery: FakeDelivery, attempt: Attempt) -> None:
        raise self._error


def _deliveries(number: int) -> list[FakeDelivery]:
    return [FakeDelivery(message_id=str(one), delivery_attempt=one) for one in range(number)]


async def test_slots_bound_what_runs_and_are_refilled_in_order() -> None:
    gate, heard = Gate(), Listening()
    consumer = Consumer(gate, InFlight(), 3, 10.0, heard)
    deliveries = _deliveries(10)
    for delivery in deliveries:
        consumer.receive(delivery)
    assert (consumer.busy, consumer.buffered) == (3, 7)
    await until(lambda: gate.running == 3)
    gate.open()
    await until(lambda: consumer.busy == 0)
    assert gate.most == 3
    assert gate.started == [str(one) for one in range(10)]
    assert all(delivery.reply == "ack" for delivery in deliveries)
    assert heard.all("received") == [(one,) for one in range(10)]


class Settling:
    """A pipeline whose handlers end at once and whose outcomes take long to store."""

    def __init__(self) -> None:
        self.begun = 0
        self.stored = asyncio.Event()

    async def process(self, delivery: FakeDelivery, attempt: Attempt) -> None:
        self.begun += 1
        attempt.handler_done()
        attempt.handler_done()
        await self.stored.wait()
        delivery.ack()


async def test_a_slot_is_free_again_while_its_outcome_is_stored() -> None:
    settling = Settling()
    consumer = Consumer(settling, InFlight(), 1, 10.0, Listening())
    for delivery in _deliveries(5):
        consumer.receive(delivery)
    await until(lambda: settling.begun == 5)
    assert consumer.busy == 0
    drain = asyncio.create_task(consumer.drain(30.0, 30.0, asyncio.Event()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not drain.done(), "a drain waits for what is being stored"
    settling.stored.set()
    assert await asyncio.wait_for(drain, 5) == 0


async def test_what_was_given_back_by_its_source_while_it_waited_takes_no_slot() -> None:
    gate = Gate()
    consumer = Consumer(gate, InFlight(), 1, 10.0, Listening())
    first, second, third = _deliveries(3)
    second.nack()
    for delivery in (second, first, third):
        consumer.receive(delivery)
    assert (consumer.busy, consumer.buffered) == (1, 1)
    third.nack()
    gate.open()
    await until(lambda: consumer.busy == 0)
    assert gate.started == ["0"]
    assert consumer.buffered == 0


async def test_what_waits_too_long_for_a_slot_goes_back() -> None:
    clock = Clock()
    gate, heard, overfull = Gate(), Listening(), []
    consumer = Consumer(
        gate, InFlight(), 1, 10.0, heard, on_buffer_timeout=lambda: overfull.append(1), clock=clock.monotonic
    )
    first, second, third = _deliveries(3)
    consumer.receive(first)
    consumer.receive(second)
    clock.now += 6
    consumer.receive(third)
    await consumer.nack_overdue()
    assert (second.reply, third.reply, overfull) == (None, None, [])
    clock.now += 4
    await consumer.nack_overdue()
    assert (second.reply, third.reply, overfull) == ("nack", None, [1])
    assert heard.all("nacked") == [(1, "buffer_timeout")]
    gate.open()
    await until(lambda: consumer.busy == 0)
    assert third.reply == "ack"


async def test_a_stop_gives_back_what_never_started_and_takes_nothing_more() -> None:
    gate, heard = Gate(), Listening()
    consumer = Consumer(gate, InFlight(), 1, 10.0, heard)
    first, second, late = _deliveries(3)
    consumer.receive(first)
    consumer.receive(second)
    consumer.stop()
    consumer.receive(late)
    assert (first.reply, second.reply, late.reply) == (None, "nack", "nack")
    assert heard.all("nacked") == [(1, "drain"), (1, "drain")]
    gate.open()
    await until(lambda: consumer.busy == 0)
    assert gate.started == ["0"]


@pytest.mark.parametrize("error", [ValueError("boom"), asyncio.CancelledError(), GeneratorExit()])
async def test_a_delivery_that_ends_in_an_error_goes_back_and_frees_its_slot(error: BaseException) -> None:
    heard = Listening()
    consumer = Consumer(Broken(error), InFlight(), 1, 10.0, heard)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    try:
        first, second = _deliveries(2)
        consumer.receive(first)
        consumer.receive(second)
        await until(lambda: consumer.busy == 0)
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert (first.reply, second.reply) == ("nack", "nack")
    assert len(heard.all("background_loop_failed")) == (2 if isinstance(error, Exception) else 0)


async def test_a_drain_lets_handlers_end() -> None:
    gate = Gate()
    consumer = Consumer(gate, InFlight(), 2, 10.0, Listening())
    delivery, *_ = _deliveries(1)
    consumer.receive(delivery)
    drain = asyncio.create_task(consumer.drain(30.0, 1.0, asyncio.Event()))
    await until(lambda: gate.running == 1)
    gate.open()
    assert await asyncio.wait_for(drain, 5) == 0
    assert delivery.reply == "ack"


async def test_a_drain_of_an_idle_worker_ends_at_once() -> None:
    consumer = Consumer(Gate(), InFlight(), 2, 10.0, Listening())
    assert await asyncio.wait_for(consumer.drain(30.0, 30.0, asyncio.Event()), 5) == 0


@pytest.mark.parametrize("cut_short", [False, True], ids=["in time", "cut short"])
async def test_what_outlives_the_drain_is_cancelled(cut_short: bool) -> None:
    gate, in_flight = Gate(), Cancelling()
    consumer = Consumer(gate, in_flight, 2, 10.0, Listening())
    in_flight.gate = gate
    delivery, *_ = _deliveries(1)
    consumer.receive(delivery)
    signal = asyncio.Event()
    drain = asyncio.create_task(consumer.drain(30.0 if cut_short else 0.01, 30.0, signal))
    await until(lambda: gate.running == 1)
    if cut_short:
        signal.set()
    assert await asyncio.wait_for(drain, 5) == 1
    assert delivery.reply == "ack", "the interruption was stored, so its delivery is acked"


async def test_a_drain_waits_no_longer_than_its_last_seconds_for_what_does_not_end() -> None:
    gate = Gate()
    consumer = Consumer(gate, InFlight(), 1, 10.0, Listening())
    delivery, *_ = _deliveries(1)
    consumer.receive(delivery)
    assert await asyncio.wait_for(consumer.drain(0.01, 0.01, asyncio.Event()), 5) == 1
    assert delivery.reply is None
    gate.open()
    await until(lambda: consumer.busy == 0)


class Cancelling(InFlight):
    """Attempts whose handlers end when they are cancelled."""

    gate: Gate

    def cancel_all(self, reason: object) -> None:
        self.gate.open()
