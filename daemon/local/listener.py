"""A subscriber as any other service would be one: Google's client, unmodified, on a subscription of its own.

Called by `headcount demo`, to show that an event really arrived. It knows only Pub/Sub: a topic, messages, attributes.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import uuid4

from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message


@dataclass(frozen=True, slots=True)
class Event:
    """One message as it arrived; `body` is its data read as JSON."""

    attributes: dict[str, str]
    body: object


class Listener:
    """Hears a topic between `with` and its end; the subscription is deleted then."""

    def __init__(self, project: str, topic: str) -> None:
        self._client = SubscriberClient()
        self._topic = topic
        self._subscription = f"projects/{project}/subscriptions/listener-{uuid4().hex[:12]}"
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def __enter__(self) -> Self:
        self._client.create_subscription(name=self._subscription, topic=self._topic)
        self._pulling = self._client.subscribe(self._subscription, callback=self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pulling.cancel()
        self._pulling.result()
        self._client.delete_subscription(subscription=self._subscription)
        self._client.close()

    def heard(self, name: str, value: str) -> list[Event]:
        """The events so far whose attribute `name` is `value`, in the order in which they came."""
        with self._lock:
            return [event for event in self._events if event.attributes.get(name) == value]

    def _hear(self, message: Message) -> None:
        event = Event(dict(message.attributes), json.loads(message.data))
        with self._lock:
            self._events.append(event)
        message.ack()
