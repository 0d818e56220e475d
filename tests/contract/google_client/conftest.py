"""Fixtures for the tests of daemon/pubsub: a topic and a subscription of the test's own on the embedded server.

Everything goes over real gRPC with Google's client; `Control` looks into the server and makes it misbehave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from daemon.delivery import Delivery
from daemon.local.pubsub.control import Control, SubscriptionFigures
from daemon.observe import Observer
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.resources import Wanted, WantedSubscription, WantedTopic, provision
from daemon.pubsub.subscriber import Subscriber


@dataclass
class Heard(Observer):
    """What the subscriber reported."""

    ends: list[BaseException | None] = field(default_factory=list)

    def stream_ended(self, error: BaseException | None, pause: float) -> None:
        self.ends.append(error)


@dataclass
class Inbox:
    """What arrived, in order, and why it ended if it did."""

    subscriber: Subscriber
    observer: Heard
    deliveries: list[Delivery] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    on_delivery: Callable[[Delivery], None] = lambda delivery: None

    def receive(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.on_delivery(delivery)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.data for delivery in self.deliveries]


@dataclass
class Bus:
    """One topic and its subscription."""

    topic: str
    subscription: str
    control: Control
    publisher: Publisher

    async def publish(self, *bodies: bytes) -> None:
        await self.publisher.publish(self.topic, [(body, {"job_name": "test"}) for body in bodies])

    def figures(self) -> SubscriptionFigures:
        return self.control.subscription(self.subscription)

    def subscriber(self, max_messages: int = 100, streams: int = 1, lease_seconds: float = 60.0) -> Inbox:
        observer = Heard()
        pulls = Subscriber(
            self.subscription,
            streams=streams,
            max_messages=max_messages,
            lease_seconds=lease_seconds,
            observer=observer,
        )
        return Inbox(pulls, observer)

    @asynccontextmanager
    async def pulling(
        self,
        on_delivery: Callable[[Delivery], None] = lambda delivery: None,
        *,
        max_messages: int = 100,
        streams: int = 1,
        lease_seconds: float = 60.0,
    ) -> AsyncIterator[Inbox]:
        inbox = self.subscriber(max_messages, streams, lease_seconds)
        inbox.on_delivery = on_delivery
        await inbox.subscriber.open(inbox.receive, inbox.failures.append)
        try:
            yield inbox
        finally:
            await inbox.subscriber.close(5)


@pytest.fixture
def control(pubsub: str) -> Iterator[Control]:
    with Control(pubsub) as control:
        yield control
        control.come_back()


@pytest.fixture
async def bus(project: str, control: Control) -> AsyncIterator[Bus]:
    topic, subscription = f"projects/{project}/topics/jobs", f"projects/{project}/subscriptions/jobs-worker"
    await provision(Wanted((WantedTopic(topic),), (WantedSubscription(subscription, topic),)))
    publisher = Publisher()
    yield Bus(topic, subscription, control, publisher)
    await publisher.close()


async def for_a_while(seconds: float, holds: Callable[[], bool]) -> None:
    """Fails as soon as `holds` answers no, ends after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert holds()
        await asyncio.sleep(0.02)
