"""Broker: the topics and subscriptions there are, and how a message gets from one to the other.

Called by the two services and the fault service. It owns the clock that lets leases run out. It must not know how
calls arrive: everything here is plain Python on one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.local.pubsub.delivery import Delivery
from daemon.local.pubsub.faults import Faults
from daemon.local.pubsub.lease_table import SLOTS_PER_SECOND
from daemon.local.pubsub.message import check, freeze, message_numbers
from daemon.local.pubsub.rpc_error import RpcError, already_exists, not_found
from daemon.local.pubsub.schema import PubsubMessage
from daemon.local.pubsub.schema import Subscription as SubscriptionMessage
from daemon.local.pubsub.schema import Topic as TopicMessage
from daemon.local.pubsub.subscription import Subscription

DELETED_TOPIC = "_deleted-topic_"
SOURCE = "CloudPubSubDeadLetterSource"


@dataclass(slots=True)
class Topic:
    message: TopicMessage
    subscriptions: list[Subscription] = field(default_factory=list)
    published: int = 0


class Broker:
    """All state of the server, in memory."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._numbers = message_numbers()
        self._series = itertools.count(1)
        self._process_id = secrets.token_hex(4)  # so that no ack id of an earlier process means anything here

    async def run_clock(self) -> None:
        while True:
            await asyncio.sleep(1 / SLOTS_PER_SECOND)
            now = time.monotonic()
            for subscription in list(self.subscriptions.values()):
                subscription.tick(now)

    # Topics

    def create_topic(self, message: TopicMessage) -> None:
        if message.name in self.topics:
            raise already_exists(message.name)
        self.topics[message.name] = Topic(message)

    def topic(self, path: str) -> Topic:
        topic = self.topics.get(path)
        if topic is None:
            raise not_found(path)
        return topic

    def delete_topic(self, path: str) -> None:
        """Its subscriptions stay, with what they have, under a topic that was deleted."""
        for subscription in self.topic(path).subscriptions:
            subscription.message.topic = DELETED_TOPIC
        del self.topics[path]

    def publish(self, topic: Topic, messages: Iterable[PubsubMessage]) -> list[str]:
        """All or none, then into each subscription whose filter lets it pass."""
        messages = list(messages)
        for message in messages:
            check(message)
        stamp = Timestamp()
        stamp.FromNanoseconds(time.time_ns() // 1000 * 1000)
        for message in messages:
            frozen = freeze(message, next(self._numbers), stamp)
            for subscription in topic.subscriptions:
                if subscription.config.passes(message.attributes):
                    subscription.publish(frozen)
        for subscription in topic.subscriptions:
            subscription.wake()
        topic.published += len(messages)
        return [message.message_id for message in messages]

    # Subscriptions

    def create_subscription(self, message: SubscriptionMessage) -> Subscription:
        if message.name in self.subscriptions:
            raise already_exists(message.name)
        topic = self.topic(message.topic)
        self.check_dead_letter_topic(message)
        prefix = f"{self._process_id}-{next(self._series)}-"
        subscription = Subscription(message, prefix, self.faults, self.forward)
        self.subscriptions[message.name] = subscription
        topic.subscriptions.append(subscription)
        return subscription

    def check_dead_letter_topic(self, message: SubscriptionMessage) -> None:
        if path := message.dead_letter_policy.dead_letter_topic:
            self.topic(path)

    def subscription(self, path: str) -> Subscription:
        subscription = self.subscriptions.get(path)
        if subscription is None:
            raise not_found(path)
        return subscription

    def delete_subscription(self, path: str) -> None:
        subscription = self.subscription(path)
        del self.subscriptions[path]
        self._unsubscribe(subscription)
        subscription.end(not_found(path))

    def detach_subscription(self, path: str) -> None:
        """It stays, gets no more messages and gives none."""
        subscription = self.subscription(path)
        self._unsubscribe(subscription)
        subscription.message.detached = True
        subscription.clear()
        subscription.end(detached(path))

    def forward(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Publish a delivery to the dead-letter topic; False when that topic is gone."""
        topic = self.topics.get(subscription.config.dead_letter_topic)
        if topic is None:
            return False
        body = delivery.message.body
        _, project, _, name = subscription.name.split("/")
        body.attributes[f"{SOURCE}DeliveryCount"] = str(delivery.attempt)
        body.attributes[f"{SOURCE}Subscription"] = name
        body.attributes[f"{SOURCE}SubscriptionProject"] = project
        body.attributes[f"{SOURCE}TopicPublishTime"] = body.publish_time.ToJsonString()
        self.publish(topic, [body])
        return True

    def wipe(self, project: str = "") -> None:
        """Forget the topics and subscriptions of a project, or all of them."""
        start = f"projects/{project}/" if project else ""
        for path in [path for path in self.subscriptions if path.startswith(start)]:
            self.delete_subscription(path)
        for path in [path for path in self.topics if path.startswith(start)]:
            self.delete_topic(path)

    def _unsubscribe(self, subscription: Subscription) -> None:
        topic = self.topics.get(subscription.message.topic)
        if topic is not None and subscription in topic.subscriptions:
            topic.subscriptions.remove(subscription)


def detached(path: str) -> RpcError:
    return RpcError(grpc.StatusCode.FAILED_PRECONDITION, f"The subscription {path} is detached from its topic.")
