"""From the client's threads to the event loop and back: how messages get in and how their replies get out.

Used by `stream` and `subscriber`. A LoopScheduler belongs to one streaming pull and tracks which of its deliveries
wait for a reply; the Handover is shared by all streams. Nothing here may block a caller's thread except `shutdown`,
which the client calls on a thread of its own, and nothing here knows why a stream ended.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.subscriber.scheduler import Scheduler

from daemon.delivery import Delivery

LOOK_SECONDS = 0.5


class Received:
    """A `daemon.delivery.Delivery` over one message of the client; fields are read when they are asked for."""

    __slots__ = ("_attributes", "_live", "_scheduler", "message")

    def __init__(self, message: Message, scheduler: LoopScheduler) -> None:
        self.message = message
        self._attributes: dict[str, str] | None = None
        self._scheduler = scheduler
        self._live = scheduler.live

    @property
    def begun(self) -> bool:
        """Whether anybody has read what it says: it is read when it gets a slot."""
        return self._attributes is not None

    @property
    def data(self) -> bytes:
        return self.message.data

    @property
    def attributes(self) -> dict[str, str]:
        # The client's map answers "" for a key that is absent, and is slow to read. dict() of it takes twice as long.
        if self._attributes is None:
            attributes = self.message.attributes
            self._attributes = {key: attributes[key] for key in attributes}
        return self._attributes

    @property
    def message_id(self) -> str:
        return str(self.message.message_id)

    @property
    def publish_time(self) -> float:
        return self.message.publish_time.timestamp()

    @property
    def delivery_attempt(self) -> int | None:
        return self.message.delivery_attempt

    def ack(self) -> None:
        if self in self._live:
            self._scheduler.replies(self.message.ack_id)
            self.message.ack()
            self._replied()

    def nack(self) -> None:
        if self in self._live:
            self._scheduler.replies(self.message.ack_id)
            self.message.nack()
            self._replied()

    def _replied(self) -> None:
        # Only after the reply is in the client's queue: an empty set lets `shutdown` go on, which ends that queue.
        self._live.discard(self)
        if self._scheduler.closed:
            self._scheduler.look()


class Handover:
    """Carries deliveries to the loop, with one wake-up of the loop for a whole burst."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Callable[[Delivery], None]) -> None:
        self.open = True
        self._loop = loop
        self._receive = receive
        self._waiting: deque[Received] = deque()
        self._woken = False

    def put(self, delivery: Received) -> None:
        """Called on the client's threads."""
        self._waiting.append(delivery)
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._hand_over)
            except RuntimeError:  # the loop is closed: nobody will ever receive it
                self.give_back()

    def give_back(self) -> None:
        """Nack what the loop has not received; from any thread."""
        while True:
            try:
                self._waiting.popleft().nack()
            except IndexError:
                return

    def _hand_over(self) -> None:
        self._woken = False  # before the first look: what is put after the last one wakes the loop again
        waiting, receive = self._waiting, self._receive
        while waiting:
            try:
                delivery = waiting.popleft()
            except IndexError:  # given back by another thread in between
                return
            if not self.open:
                delivery.nack()
                continue
            try:
                receive(delivery)
            except Exception as error:
                delivery.nack()
                self._loop.call_exception_handler({"message": "receiving a delivery failed", "exception": error})


class LoopScheduler(Scheduler):
    """Hands the messages of one streaming pull to the loop instead of a thread pool.

    `shutdown` keeps the client's leases and acks going until every delivery has its reply: it is called when the stream
    ends for whatever reason, and whoever opens the next stream must not wait for it. `idle` is called while it waits,
    `replies` with the ack id of every message that is about to have its reply.
    """

    def __init__(
        self,
        handover: Handover,
        ending: Callable[[], None],
        idle: Callable[[], None],
        replies: Callable[[str], None],
    ) -> None:
        self.live: set[Received] = set()
        self.replies = replies
        self.closed = False
        self._handover = handover
        self._ending = ending
        self._idle = idle
        self._queue: SimpleQueue[object] = SimpleQueue()
        self._lock = threading.Lock()
        self._looked_at = threading.Event()
        self._let_go = False

    @property
    def queue(self) -> SimpleQueue[object]:  # type: ignore[override]  # the client only calls put and get(timeout=)
        return self._queue

    def schedule(self, callback: Callable[..., object], *args: Message, **kwargs: object) -> None:
        """Never raises and never blocks: the client holds a lock of its own around this call."""
        delivery = Received(args[0], self)
        with self._lock:
            if self.closed or not self._handover.open:
                delivery.message.nack()
                return
            self.live.add(delivery)
        self._handover.put(delivery)

    def shutdown(self, await_msg_callbacks: bool = False) -> list[Message]:
        """Waits for the replies, or for `let_go`; what is left is returned, and the client nacks it."""
        with self._lock:
            self.closed = True
        self._ending()
        while self.live and not self._let_go:
            self._idle()
            self._looked_at.wait(LOOK_SECONDS)
            self._looked_at.clear()
        left = [delivery.message for delivery in list(self.live)]
        self.live.clear()
        return left

    @property
    def live_bytes(self) -> int:
        """The size of what waits for its reply. Any thread."""
        return sum(delivery.message.size for delivery in list(self.live))

    def begun(self) -> set[str]:
        """The ack ids of deliveries that have begun and wait for their reply. Any thread."""
        return {delivery.message.ack_id for delivery in list(self.live) if delivery.begun}

    def let_go(self) -> None:
        """Wait for no more replies."""
        self._let_go = True
        self._looked_at.set()

    def look(self) -> None:
        """A reply was given while `shutdown` waits."""
        if not self.live:
            self._looked_at.set()
