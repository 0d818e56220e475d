"""One StreamingPull call, from its first request to its last response.

Opened by `streams`, which opens the next one when this one ends. Everything here runs on the thread of the streams.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import StreamingPullRequest, StreamingPullResponse

# The local server answers each empty request at once, and so does the service for clients of protocol version 1. A
# service that never answered one is watched by the channel's own keepalive alone (`connection.KEEPALIVE_SECONDS`).
PING_SECONDS = 10.0
SILENT_SECONDS = 2 * PING_SECONDS
CONNECT_SECONDS = 1.5  # an attempt to connect is given up after this
ACK_DEADLINE_SECONDS = 60  # of what is received and has had no receipt yet
CLOSE_SECONDS = 1.0

Arrived = Callable[["Stream", Any], None]
Ended = Callable[["Stream", Exception | None], None]


class Stream:
    """A streaming pull that is given at most `limit` (1 or more) messages at a time.

    `arrived` is called with each response (plain protobuf), `ended` once, with None when it was closed in order.
    `live` is how many of its messages have had no reply; its owner counts.
    """

    def __init__(
        self,
        client: SubscriberAsyncClient,
        request: StreamingPullRequest,
        arrived: Arrived,
        ended: Ended,
    ) -> None:
        self.limit = request.max_outstanding_messages
        self.live = 0
        self.received_bytes = 0
        self.opened_at = self._heard_at = time.monotonic()
        self._client = client
        self._first = request
        self._arrived = arrived
        self._ended = ended
        self._pongs = False
        self._closing_at: float | None = None
        self._half_closed = asyncio.Event()
        self._broken: Exception | None = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    def age(self, now: float) -> float:
        return now - self.opened_at

    def goes_well(self, now: float) -> bool:
        """Whether the service has answered, or has at least not refused it for longer than connecting may take."""
        return self._heard_at > self.opened_at or self.age(now) > CONNECT_SECONDS

    def close(self) -> None:
        """Half-close it: the service sends nothing new, and what is on its way still arrives.

        Cancelling the call instead would leave those messages leased to nobody until their leases end.
        """
        if self._closing_at is None:
            self._closing_at = time.monotonic()
        self._half_closed.set()

    def look(self, now: float) -> None:
        """Called several times a second: end it if the service no longer answers."""
        if self._closing_at is not None and now - self._closing_at > CLOSE_SECONDS:
            self.task.cancel()
        elif self._pongs and now - self._heard_at > SILENT_SECONDS:
            self._broken = ConnectionError(f"the service has been silent for {SILENT_SECONDS:.0f} s")
            self.task.cancel()

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            await self._read()
        except asyncio.CancelledError:
            error = self._broken
        except Exception as why:
            error = why
        self._half_closed.set()
        self._ended(self, error)

    async def _read(self) -> None:
        subscription = self._first.subscription
        responses = await self._client.streaming_pull(
            self._requests(),
            timeout=None,
            retry=None,
            metadata=(("x-goog-request-params", f"subscription={subscription}"),),
        )
        async for response in responses:
            raw = StreamingPullResponse.pb(response)  # the library's wrappers cost several times as much a field
            self._heard_at = time.monotonic()
            if raw.received_messages:
                self.received_bytes += raw.ByteSize()
                self._arrived(self, raw)
            else:
                self._pongs = True

    async def _requests(self) -> AsyncIterator[StreamingPullRequest]:
        yield self._first
        yield StreamingPullRequest()  # whether this service answers is known before the first pause is over
        while not self._half_closed.is_set():
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await self._half_closed.wait()
            except TimeoutError:
                yield StreamingPullRequest()
