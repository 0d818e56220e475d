"""An ordinary subscriber of the events, on a subscription of its own, that remembers what it received and when.

Used by the checks and by everything that measures when an event arrived. It survives a Pub/Sub that goes away; after
one that forgot everything it has to subscribe again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message


class EventListener:
    """Listens to a topic between `with` and its end."""

    def __init__(self, project: str, topic: str = "job-events") -> None:
        self._topic = f"projects/{project}/topics/{topic}"
        self._subscription = f"projects/{project}/subscriptions/listener-{uuid4().hex[:8]}"
        self._client = SubscriberClient()
        self._lock = threading.Lock()
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._first: dict[str, float] = {}
        self._outcomes: dict[str, str] = {}
        self._bodies: dict[str, set[bytes]] = defaultdict(set)
        self.received = 0

    def __enter__(self) -> Self:
        self.subscribe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pulling.cancel()
        with contextlib.suppress(GoogleAPICallError, CancelledError, TimeoutError):
            self._pulling.result(timeout=10)
        self._client.close()

    def subscribe(self) -> None:
        """Make the subscription and listen."""
        self._client.create_subscription(name=self._subscription, topic=self._topic)
        self._pulling = self._client.subscribe(self._subscription, callback=self._on_message)

    def event_ids(self) -> dict[str, set[str]]:
        """The event ids received for each orchestration."""
        with self._lock:
            return {orchestration: set(ids) for orchestration, ids in self._ids.items()}

    def contradictions(self) -> list[str]:
        """The event ids that came with more than one body."""
        with self._lock:
            return [event for event, bodies in self._bodies.items() if len(bodies) > 1]

    def received_at(self, orchestration_id: UUID) -> float | None:
        """When its event first came, by the monotonic clock; None before."""
        with self._lock:
            return self._first.get(str(orchestration_id))

    def outcome(self, orchestration_id: UUID) -> str | None:
        """What its event says."""
        with self._lock:
            return self._outcomes.get(str(orchestration_id))

    def _on_message(self, message: Message) -> None:
        now = time.monotonic()
        orchestration = message.attributes["orchestration_id"]
        with self._lock:
            self.received += 1
            self._ids[orchestration].add(message.attributes["ce-id"])
            self._bodies[message.attributes["ce-id"]].add(message.data)
            self._first.setdefault(orchestration, now)
            self._outcomes[orchestration] = message.attributes["outcome"]
        message.ack()
