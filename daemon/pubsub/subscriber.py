"""Streaming pulls of one subscription, handed to the event loop.

Built by `service`, driven by the engine's consumer. One thread of its own opens, watches and replaces the streams, so
that intake stops and comes back whatever the loop does. It knows what a message is worth to nobody: replies are theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from daemon.delivery import Delivery
from daemon.errors import SubscriptionNotReady
from daemon.observe import Observer
from daemon.pubsub.connection import subscriber_transport
from daemon.pubsub.pressure import Pressure
from daemon.pubsub.refusals import refusal
from daemon.pubsub.scheduler import Handover
from daemon.pubsub.stream import MAX_BYTES, Stream
from daemon.rules.retry import Backoff, retry_delay

# With the channel's own second for a new connection this is back within 5 s of an outage's end.
BACKOFF = Backoff(initial=0.1, factor=2, maximum=2)
LOOK_SECONDS = 0.25
SETTLE_SECONDS = 0.5
GRACE_SECONDS = 0.2
WORTH = 0.05  # a stream costs six sleeping threads, so there are at most twenty beyond the wanted ones


class Subscriber:
    """Streaming pulls of one subscription, handed to the event loop.

    At most `max_messages` are out at any time, over all streams, the ones that ended and still have running jobs
    included: a new stream is opened for what is free. `streams` is how many there are at first; see `pressure`.
    """

    def __init__(
        self, subscription: str, *, streams: int, max_messages: int, lease_seconds: float, observer: Observer
    ) -> None:
        self._subscription = subscription
        self._streams = max(1, min(streams, max_messages))
        self._capacity = max_messages
        self._pressure = Pressure()
        self._lease_seconds = lease_seconds
        self._observer = observer
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()  # its put is safe in a signal handler
        self._active: tuple[Stream, ...] = ()
        self._retired: list[Stream] = []
        self._paused = False
        self._closing = False
        self._over = False
        self._failures = 0
        self._failing_since: float | None = None
        self._open_at = 0.0
        self._free_since: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handover: Handover | None = None
        self._failed: Callable[[Exception], None] = _ignore
        self._transport: SubscriberGrpcTransport | None = None

    @property
    def paused(self) -> bool:
        """True between `pause` and `resume`."""
        return self._paused

    @property
    def failing_for(self) -> float:
        """For how many seconds every attempt to pull has failed; 0 while one goes well or none is made. Any thread."""
        since = self._failing_since
        return 0.0 if since is None else time.monotonic() - since

    async def open(self, receive: Callable[[Delivery], None], failed: Callable[[Exception], None]) -> None:
        """Start the streams. `receive` and `failed` are called on this loop; `failed` at most once, and for good."""
        self._loop = asyncio.get_running_loop()
        self._handover = Handover(self._loop, receive)
        self._failed = failed
        threading.Thread(target=self._keep, name="headcount-streams", daemon=True).start()
        await self._done(self._fill)

    def pause(self) -> None:
        """Take in nothing more from now on. From any thread and from signal handlers; does not block."""
        self._paused = True
        if self._handover is not None:
            self._handover.open = False
        self._orders.put(self._retire_all)

    async def resume(self) -> None:
        """Take in again."""
        if self._closing or self._handover is None:
            return
        self._paused = False
        self._handover.open = True
        await self._done(self._fill)

    def limit(self, max_messages: int) -> None:
        """From now on at most so many messages are out: the streams are replaced. Any thread; does not block."""
        self._orders.put(lambda: self._resize(max_messages))

    async def close(self, timeout: float) -> None:
        """Give back whatever is live and end, within `timeout` seconds. Never raises."""
        if self._closing or self._handover is None:
            return
        self.pause()
        self._closing = True
        deadline = time.monotonic() + timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout + GRACE_SECONDS):
                await self._done(lambda: self._end(deadline))

    async def _done(self, order: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def carry_out() -> None:
            try:
                order()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_tell, done)

        self._orders.put(carry_out)
        await done

    # From here on: the thread of the streams.

    def _keep(self) -> None:
        while not self._over:
            try:
                order = self._orders.get(timeout=LOOK_SECONDS)
            except Empty:
                order = self._look
            try:
                order()
            except Exception as error:
                self._stumble(error)

    def _look(self) -> None:
        for stream in self._active:
            broken = stream.look()
            if broken is not None:
                stream.retire()
                self._replace(stream, ConnectionError(broken))
        if any(stream.goes_well for stream in self._active):
            self._failing_since = None
        self._retired = [stream for stream in self._retired if not stream.finished()]
        self._widen()
        self._fill()

    def _widen(self) -> None:
        streams = (*self._active, *self._retired)
        complete = len(self._active) == self._streams
        few = sum(one.live for one in streams) * 2 < self._capacity
        small = sum(one.live_bytes for one in streams) * 2 < MAX_BYTES
        received = sum(one.received for one in streams)
        if self._pressure.wants_another(time.monotonic(), received, self._streams, hungry=complete and few and small):
            self._streams = min(self._streams + 1, self._capacity)
            self._retire_all()

    def _fill(self) -> None:
        now = time.monotonic()
        if self._paused or self._closing or now < self._open_at:
            return
        running = sum(stream.live for stream in self._retired)
        free = self._capacity - running - sum(stream.limit for stream in self._active)
        missing = self._streams - len(self._active)
        if free <= 0 or not self._worth(free, missing, running, now):
            return
        count = min(max(missing, 1), free)
        for number in range(count):
            self._open_stream(free // count + (number < free % count))

    def _worth(self, free: int, missing: int, running: int, now: float) -> bool:
        # Deliveries of a stream that ended are counted until their replies. Short jobs are given a moment, so that the
        # next stream gets all their places at once; behind long ones further streams are opened as places come free.
        if self._free_since is None:
            self._free_since = now
        if running and now - self._free_since < SETTLE_SECONDS:
            return False
        self._free_since = None
        return missing > 0 or free >= self._capacity * WORTH

    def _open_stream(self, limit: int) -> None:
        assert self._handover is not None
        if self._transport is None:
            self._transport = subscriber_transport()
        stream = Stream(self._subscription, limit, self._lease_seconds, self._transport, self._handover, self._streams)
        stream.open(lambda ended, error: self._orders.put(lambda: self._ended(ended, error)))
        self._active = (*self._active, stream)

    def _ended(self, stream: Stream, error: GoogleAPICallError | None) -> None:
        if stream not in self._active:
            return
        stream.retire()
        reason = error and refusal(self._subscription, error)
        if isinstance(reason, SubscriptionNotReady):
            self._give_up(reason)
        else:
            self._replace(stream, error)
            self._fill()

    def _replace(self, stream: Stream, error: Exception | None) -> None:
        self._active = tuple(other for other in self._active if other is not stream)
        self._retired.append(stream)
        if stream.received or time.monotonic() - stream.opened_at > 2 * BACKOFF.maximum:
            self._failures = 0
        self._free_since = None
        self._rest(error, failed=not stream.goes_well)

    def _rest(self, error: Exception | None, *, failed: bool) -> None:
        self._failures += 1
        if failed and self._failing_since is None:
            self._failing_since = time.monotonic()
        pause = retry_delay(BACKOFF, self._failures, random.random)
        self._open_at = time.monotonic() + pause
        self._observer.stream_ended(error, pause)

    def _resize(self, max_messages: int) -> None:
        if max_messages != self._capacity:
            self._capacity = max_messages
            self._retire_all()
            self._fill()

    def _retire_all(self) -> None:
        for stream in self._active:
            stream.retire()
        self._retired += self._active
        self._active = ()
        self._free_since = None
        self._failing_since = None
        if self._handover is not None and not self._handover.open:
            self._handover.give_back()

    def _stumble(self, error: Exception) -> None:
        """A stream could not be opened at all, or something unforeseen happened."""
        if isinstance(error, GoogleAuthError):
            text = f"There are no usable credentials for the subscription {self._subscription}: {error}."
            self._give_up(SubscriptionNotReady(text, "gcloud auth application-default login"))
            return
        self._rest(error, failed=True)

    def _give_up(self, reason: SubscriptionNotReady) -> None:
        self._retire_all()
        if self._open_at != float("inf") and self._loop is not None:
            self._open_at = float("inf")
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._failed, reason)

    def _end(self, deadline: float) -> None:
        self._over = True
        for stream in self._retired:
            stream.release()
        for stream in self._retired:
            stream.join(deadline - time.monotonic())
        if self._transport is not None:
            self._transport.grpc_channel.close()


def _ignore(error: Exception) -> None:
    """Until somebody listens."""


def _tell(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
