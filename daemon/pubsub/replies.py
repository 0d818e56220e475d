"""Acks and nacks on their way to Pub/Sub, each kind in batches of its own.

Used by `streaming_pull` and `leases`, on the thread of the streams. It decides neither what is acked nor when.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator

from google.api_core.exceptions import GoogleAPICallError

from daemon.pubsub.connection import TRANSIENT
from daemon.pubsub.outstanding import Received
from daemon.rules.retry import Backoff, retry_delay

MAX_IDS = 1_000
MAX_BYTES = 500_000  # a request may have 512 KiB, its subscription's name included
RETRY = Backoff(initial=0.1, factor=2, maximum=2)

Send = Callable[[list[str]], Awaitable[None]]


class Replies:
    """One kind of reply. One call at a time: what comes meanwhile makes up the next batch, so there is no timer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._due: deque[Received] = deque()
        self._sending: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Calls that end once everything so far is answered, or given up with its lease."""
        return [] if self._sending is None else [self._sending]

    def put(self, received: Iterable[Received]) -> None:
        """Send these, in this order."""
        self._due.extend(received)
        if self._due and self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        failures = 0
        try:
            while self._due:
                batch = next(batches(self._due))
                for _ in batch:
                    self._due.popleft()
                try:
                    await self._send([one.ack_id for one in batch])
                    failures = 0
                except TRANSIENT:
                    # Longer than the lease makes no sense: the message is delivered again by then.
                    self._due.extendleft(one for one in reversed(batch) if one.lease_until > time.monotonic())
                    failures += 1
                    await asyncio.sleep(retry_delay(RETRY, failures, random.random))
                except GoogleAPICallError:
                    continue  # the stream ends for the same reason, and says so
        finally:
            self._sending = None


def batches(received: Iterable[Received]) -> Iterator[list[Received]]:
    """In order, each as large as one request may be."""
    batch: list[Received] = []
    size = 0
    for one in received:
        length = len(one.ack_id) + 4
        if len(batch) == MAX_IDS or size + length > MAX_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += length
    if batch:
        yield batch
