"""Subscriptions and messages as the tests of this folder need them."""

import asyncio
import itertools
import time

from google.protobuf.timestamp_pb2 import Timestamp

from daemon.local.pubsub.delivery import Delivery, Receiver
from daemon.local.pubsub.faults import Faults
from daemon.local.pubsub.message import Message, freeze
from daemon.local.pubsub.schema import PubsubMessage
from daemon.local.pubsub.schema import Subscription as SubscriptionMessage
from daemon.local.pubsub.subscription import Subscription
from daemon.local.pubsub.subscription_config import with_defaults

NUMBERS = itertools.count(1)


def a_message(data: bytes = b"x", *, key: str = "", at: float | None = None) -> Message:
    stamp = Timestamp()
    stamp.FromNanoseconds(int((time.time() if at is None else at) * 1e9))
    return freeze(PubsubMessage(data=data, ordering_key=key), next(NUMBERS), stamp)


class Made(Subscription):
    """A subscription with its own faults, which remembers what it moved to the dead-letter topic."""

    def __init__(self, faults: Faults | None = None, **fields: object) -> None:
        names = {"name": "projects/p/subscriptions/sub", "topic": "projects/p/topics/top"}
        self.faults = faults or Faults()
        self.dead: list[Message] = []
        self.dead_letter_topic_is_there = True
        self.later = 0.0  # how far the clock of `expire` is ahead
        super().__init__(with_defaults(SubscriptionMessage(**names, **fields)), "ack-", self.faults, self._dead_letter)

    def _dead_letter(self, _: Subscription, delivery: Delivery) -> bool:
        if self.dead_letter_topic_is_there:
            self.dead.append(delivery.message)
        return self.dead_letter_topic_is_there

    def publish(self, *messages: Message) -> None:
        for message in messages:
            super().publish(message)
        self.wake()

    def expire(self) -> None:
        """The time of every lease runs out."""
        self.expire_leases()
        self.later += 0.2
        self.tick(time.monotonic() + self.later)

    def receiver(self, max_messages: int = 0, max_bytes: int = 0) -> Receiver:
        receiver = Receiver(lease_seconds=10, max_messages=max_messages, max_bytes=max_bytes)
        self.attach(receiver)
        return receiver


async def batch_of(receiver: Receiver) -> list[Delivery]:
    """What the receiver is given now; nothing if it would have to wait."""
    batch = receiver.ask()
    for _ in range(3):  # one turn of the loop to wake the subscription, one to hand out
        await asyncio.sleep(0)
    if not batch.done():
        batch.cancel()
        return []
    return batch.result() or []


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.ack_id for delivery in deliveries]


def messages(deliveries: list[Delivery]) -> list[Message]:
    return [delivery.message for delivery in deliveries]
