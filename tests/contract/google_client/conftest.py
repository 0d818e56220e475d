"""Fixtures for the tests of daemon/pubsub: a topic and a subscription of the test's own on the embedded server.

Everything goes over real gRPC with Google's client; `Control` looks into the server and makes it misbehave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from daemon.delivery import Delivery
from daemon.local.pubsub.control import Control, SubscriptionFigures
from daemon.observe import Observer
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.resources import DesiredResources, SubscriptionSpec, TopicSpec, provision
from daemon.pubsub.streaming_pull import StreamingPull


@dataclass
class Heard(Observer):
    """What the pull reported."""

    ends: list[BaseException | None] = field(default_factory=list)
    given_back: list[tuple[int, str]] = field(default_factory=list)

    def stream_ended(self, error: BaseException | None, pause: float) -> None:
        self.ends.append(error)

    def nacked(self, count: int, why: str) -> None:
        self.given_back.append((count, why))


@dataclass
class Inbox:
    """What arrived, in order, and why it ended if it did."""

    pull: StreamingPull
    observer: Heard
    deliveries: list[Delivery] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    on_delivery: Callable[[Delivery], None] = lambda delivery: None

    def receive(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.on_delivery(delivery)

    def start(self) -> None:
        """Give every delivery a slot."""
        for delivery in self.deliveries:
            delivery.start()

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

    def inbox(self, slots: int = 100, prefetch: int = 0, streams: int = 1, lease_seconds: float = 60.0) -> Inbox:
        observer = Heard()
        pull = StreamingPull(
            self.subscription,
            slots=slots,
            prefetch=prefetch,
            busy=lambda: 0,
            lease_seconds=lease_seconds,
            observer=observer,
            streams=streams,
        )
        return Inbox(pull, observer)

    @asynccontextmanager
    async def pulling(
        self, on_delivery: Callable[[Delivery], None] = lambda delivery: None, **settings: Any
    ) -> AsyncIterator[Inbox]:
        inbox = self.inbox(**settings)
        inbox.on_delivery = on_delivery
        await inbox.pull.open(inbox.receive, inbox.failures.append)
        try:
            yield inbox
        finally:
            await inbox.pull.close(5)


@pytest.fixture
def control(pubsub: str) -> Iterator[Control]:
    with Control(pubsub) as control:
        yield control
        control.come_back()


@pytest.fixture
async def bus(project: str, control: Control) -> AsyncIterator[Bus]:
    topic, subscription = f"projects/{project}/topics/jobs", f"projects/{project}/subscriptions/jobs-worker"
    await provision(DesiredResources((TopicSpec(topic),), (SubscriptionSpec(subscription, topic),)))
    publisher = Publisher()
    yield Bus(topic, subscription, control, publisher)
    await publisher.close()


async def for_a_while(seconds: float, holds: Callable[[], bool]) -> None:
    """Fails as soon as `holds` answers no, ends after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert holds()
        await asyncio.sleep(0.02)
