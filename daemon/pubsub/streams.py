"""The open streams of one subscription: when one is opened, for how many messages, and what follows when it ends.

Driven by `streaming_pull` on the thread of the streams. It knows how many messages there are, and nothing of leases.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from uuid import uuid4

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import StreamingPullRequest

from daemon.errors import SubscriptionNotReady
from daemon.observe import Observer
from daemon.pubsub.connection import streaming_client
from daemon.pubsub.flow_control import Saturation
from daemon.pubsub.stream import ACK_DEADLINE_SECONDS, Arrived, Stream
from daemon.pubsub.subscription_errors import refusal
from daemon.rules.retry import Backoff, retry_delay

BACKOFF = Backoff(initial=0.1, factor=2, maximum=2)  # back within 5 s of an outage's end
PLANNED_SECONDS = 2 * BACKOFF.maximum  # a stream that lasted for longer was ended by plan: the next is opened at once
MAX_BYTES = 64 * 1024 * 1024  # of all streams; Pub/Sub's messages have at most 10 MB, and one always fits
LEAST_BYTES = 16 * 1024 * 1024
SETTLE_SECONDS = 0.5
WORTH = 0.05  # of the capacity
WORTH_SECONDS = 5.0
MOST_OPEN = 10


class Streams:
    """Keeps streams open for as many messages as there is room, as long as it is `accepting`.

    capacity: how many messages may be out at any time, over all streams, those that ended and still have messages
    included. free_slots: how many more jobs could run now. wanted: how many streams there are to begin with.
    """

    def __init__(
        self,
        subscription: str,
        wanted: int,
        capacity: Callable[[], int],
        free_slots: Callable[[], int],
        arrived: Arrived,
        give_up: Callable[[SubscriptionNotReady], None],
        observer: Observer,
    ) -> None:
        self.accepting = True
        self.failing_since: float | None = None
        self._subscription = subscription
        self._wanted = wanted
        self._capacity = capacity
        self._free_slots = free_slots
        self._arrived = arrived
        self._give_up = give_up
        self._observer = observer
        self._client_id = str(uuid4())
        self._clients: list[SubscriberAsyncClient] = []
        self._open: list[Stream] = []
        self._closed: list[Stream] = []  # ended or ending; they stay until their last message has its reply
        self._saturation = Saturation()
        self._received_bytes = 0  # of those that are forgotten
        self._failures = 0
        self._open_at = 0.0
        self._room_since: float | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Of the calls that have not ended."""
        return [one.task for one in (*self._open, *self._closed) if not one.task.done()]

    def client(self, number: int = 0) -> SubscriberAsyncClient:
        """The client of the stream of this number: each has a connection of its own. Finding credentials blocks."""
        while len(self._clients) <= number:
            self._clients.append(streaming_client())
        return self._clients[number]

    def look(self, now: float) -> None:
        """Called several times a second."""
        for stream in (*self._open, *self._closed):
            stream.look(now)
        if any(one.goes_well(now) for one in self._open):
            self.failing_since = None
        self._forget()
        self._widen(now)
        self.fill(now)

    def fill(self, now: float) -> None:
        """Open what there is room for. Pub/Sub does not know about the messages of earlier streams, so they are counted
        here; further streams are opened as those get their replies, and all become one again when they are too many.
        """
        room = self._room()
        if not self.accepting or now < self._open_at or room <= 0 or self._free_slots() <= 0:
            return
        if self._room_since is None:
            self._room_since = now
        if not self._is_worth(room, now - self._room_since):
            return
        if len(self._open) >= MOST_OPEN:
            self.close_all()
            room = self._room()
        count = min(max(self._wanted - len(self._open), 1), max(room, 0))
        for number in range(count):
            self._open_one(room // count + (number < room % count))

    def close_all(self) -> None:
        """Receive nothing new, and keep what is here."""
        for stream in self._open:
            stream.close()
        self._closed += self._open
        self._open = []
        self._room_since = None
        self.failing_since = None

    async def end(self) -> None:
        for client in self._clients:
            await client.transport.close()  # type: ignore[no-untyped-call]  # the library's is not annotated

    def _room(self) -> int:
        return self._capacity() - sum(one.limit for one in self._open) - sum(one.live for one in self._closed)

    def _is_worth(self, room: int, seconds: float) -> bool:
        if not any(one.live for one in self._closed) or room * 2 > self._capacity():
            return True
        # Short jobs get a moment to end, so that the next stream gets all of their room at once.
        enough = not self._open or room >= self._capacity() * WORTH
        return seconds >= (SETTLE_SECONDS if enough else WORTH_SECONDS)

    def _open_one(self, limit: int) -> None:
        number = len(self._open) % self._wanted
        request = StreamingPullRequest(
            subscription=self._subscription,
            stream_ack_deadline_seconds=ACK_DEADLINE_SECONDS,
            client_id=self._client_id,
            max_outstanding_messages=limit,
            max_outstanding_bytes=max(MAX_BYTES // self._wanted, LEAST_BYTES),
            protocol_version=1,  # empty requests are answered: that tells a link that is half open from a quiet one
        )
        try:
            client = self.client(number)
        except GoogleAuthError as error:
            text = f"There are no usable credentials for the subscription {self._subscription}: {error}."
            self._stop(SubscriptionNotReady(text, "gcloud auth application-default login"))
            return
        self._open.append(Stream(client, request, self._arrived, self._ended))
        self._room_since = None

    def _ended(self, stream: Stream, error: Exception | None) -> None:
        if stream not in self._open:
            return
        self._open.remove(stream)
        self._closed.append(stream)
        reason = refusal(self._subscription, error) if isinstance(error, GoogleAPICallError) else None
        if isinstance(reason, SubscriptionNotReady):
            self._stop(reason)
            return
        now = time.monotonic()
        pause = self._pause(stream, now)
        self._open_at = now + pause
        self._room_since = None
        self._observer.stream_ended(error, pause)
        self.fill(now)

    def _pause(self, stream: Stream, now: float) -> float:
        if not stream.goes_well(now) and self.failing_since is None:
            self.failing_since = now
        if stream.age(now) > PLANNED_SECONDS:
            self._failures = 0
            return 0.0
        self._failures = 1 if stream.received_bytes else self._failures + 1
        return retry_delay(BACKOFF, self._failures, random.random)

    def _stop(self, reason: SubscriptionNotReady) -> None:
        if self.accepting:
            self.accepting = False
            self.close_all()
            self._give_up(reason)

    def _forget(self) -> None:
        gone = [one for one in self._closed if one.task.done() and not one.live]
        self._received_bytes += sum(one.received_bytes for one in gone)
        self._closed = [one for one in self._closed if one not in gone]

    def _widen(self, now: float) -> None:
        streams = (*self._open, *self._closed)
        few = sum(one.live for one in streams) * 2 < self._capacity()
        received = self._received_bytes + sum(one.received_bytes for one in streams)
        hungry = few and len(self._open) >= self._wanted
        if self._saturation.wants_another(now, received, self._wanted, hungry=hungry):
            self._wanted = min(self._wanted + 1, self._capacity())
            self.close_all()
