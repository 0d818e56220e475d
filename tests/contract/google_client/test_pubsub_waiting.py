"""Messages that wait behind busy slots: how many are kept ready, what goes back, and what that costs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import DeadLetterPolicy, RetryPolicy, Subscription

from daemon.delivery import Delivery
from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.consumer import Consumer
from daemon.pubsub.resources import DesiredResources, TopicSpec, provision
from daemon.pubsub.streaming_pull import StreamingPull
from tests.contract.google_client.conftest import Bus, Heard, for_a_while
from tests.harness.waiting import until

SLOTS, PREFETCH = 2, 4


@dataclass
class Shop:
    """A pipeline whose jobs end when the test says so."""

    running: list[Delivery] = field(default_factory=list)
    started: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def process(self, delivery: Delivery, attempt: Attempt) -> None:
        self.started += 1
        self.running.append(delivery)
        await self.closing.wait()
        attempt.handler_done()
        delivery.ack()


@asynccontextmanager
async def worker(bus: Bus, shop: Shop, buffer_timeout_seconds: float = 0.2) -> AsyncIterator[Consumer]:
    """The pull and the consumer of a worker, wired as the service does it."""
    pull = StreamingPull(
        bus.subscription,
        slots=SLOTS,
        prefetch=PREFETCH,
        busy=lambda: consumer.busy,
        lease_seconds=60,
        observer=Heard(),
        window=buffer_timeout_seconds,
    )
    consumer = Consumer(shop, InFlight(), SLOTS, buffer_timeout_seconds, Heard(), on_buffer_timeout=pull.waited_in_vain)

    async def hold() -> None:
        while True:
            await consumer.nack_overdue()
            await asyncio.sleep(buffer_timeout_seconds / 4)

    holding = asyncio.create_task(hold())
    await pull.open(consumer.receive, lambda error: None)
    try:
        yield consumer
    finally:
        holding.cancel()
        await pull.close(5)


@pytest.fixture
async def impatient(bus: Bus, project: str) -> Bus:
    """A subscription of the real one's terms, its times divided by 3,600 and its delivery attempts by 5."""
    dead = f"projects/{project}/topics/dead"
    await provision(DesiredResources((TopicSpec(dead),), ()))
    bus.subscription += "-impatient"
    await SubscriberAsyncClient().create_subscription(
        Subscription(
            name=bus.subscription,
            topic=bus.topic,
            ack_deadline_seconds=60,
            dead_letter_policy=DeadLetterPolicy(dead_letter_topic=dead, max_delivery_attempts=20),
            retry_policy=RetryPolicy(
                minimum_backoff=Duration(nanos=280_000), maximum_backoff=Duration(nanos=170_000_000)
            ),
        )
    )
    return bus


@pytest.mark.long
async def test_a_backlog_that_waits_for_twenty_hours_behind_busy_slots_runs_and_is_never_given_up(
    impatient: Bus,
) -> None:
    shop = Shop()
    await impatient.publish(*(b"%d" % number for number in range(20)))
    async with worker(impatient, shop, buffer_timeout_seconds=0.1) as consumer:
        await until(lambda: shop.started == SLOTS)
        await for_a_while(20, lambda: shop.started == SLOTS)
        figures = impatient.figures()
        assert figures["nacked"] <= 20 * PREFETCH, "fewer than one delivery attempt an hour and waiting message"
        assert figures["outstanding"] == SLOTS
        shop.closing.set()
        await until(lambda: impatient.figures()["acked"] == 20, within=20)
        assert consumer.busy == 0
    assert impatient.figures()["dead_lettered"] == 0


async def test_a_stream_is_opened_only_with_a_slot_free_and_stays_open_once_all_are_busy(bus: Bus) -> None:
    shop = Shop()
    await bus.publish(*(b"%d" % number for number in range(SLOTS)))
    async with worker(bus, shop) as consumer:
        await until(lambda: shop.started == SLOTS)
        await for_a_while(0.5, lambda: bus.figures()["receivers"] == 1)
        bus.control.drop_streams(bus.subscription)
        await for_a_while(3, lambda: bus.figures()["receivers"] == 0)
        shop.closing.set()
        await until(lambda: consumer.busy == 0)
        await until(lambda: bus.figures()["receivers"] == 1)


async def test_messages_are_kept_ready_again_once_jobs_end_fast_enough(bus: Bus) -> None:
    shop = Shop()
    await bus.publish(*(b"%d" % number for number in range(SLOTS + PREFETCH)))
    async with worker(bus, shop, buffer_timeout_seconds=0.5):
        await until(lambda: bus.figures()["nacked"] == PREFETCH)
        await for_a_while(0.5, lambda: bus.figures()["outstanding"] == SLOTS)
        shop.closing.set()  # from now on jobs take no time
        await until(lambda: bus.figures()["acked"] == SLOTS + PREFETCH)
        shop.closing.clear()
        await bus.publish(*(b"%d" % number for number in range(20)))
        await until(lambda: bus.figures()["outstanding"] == SLOTS + PREFETCH)
        shop.closing.set()
