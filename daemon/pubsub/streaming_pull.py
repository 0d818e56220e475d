"""StreamingPull of one subscription: messages to the event loop, replies and leases back to Pub/Sub.

Built by `service`, driven by the engine's consumer. Streams, acks and leases live in a thread of their own, so that a
handler that blocks the event loop loses no lease. It does not inspect messages; whether to ack is the consumer's
business.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from google.pubsub_v1.types import AcknowledgeRequest, ModifyAckDeadlineRequest

from daemon.delivery import Delivery
from daemon.errors import SubscriptionNotReady
from daemon.observe import Observer
from daemon.pubsub.flow_control import Prefetch
from daemon.pubsub.io_thread import IoThread
from daemon.pubsub.leases import TICK, Leases
from daemon.pubsub.outstanding import Outstanding, Received
from daemon.pubsub.replies import Replies
from daemon.pubsub.stream import ACK_DEADLINE_SECONDS, Stream
from daemon.pubsub.streams import Streams

THREAD = "pubsub-io"
LOOK_SECONDS = 0.25
ANSWER_SECONDS = 10.0  # for one ack or lease
LOOP_SECONDS = 10.0  # an event loop that has not answered for so long starts nothing: what waits is nacked
GRACE_SECONDS = 0.2
COLLECT_SECONDS = 0.002

_Acknowledge = AcknowledgeRequest.pb()
_Modify = ModifyAckDeadlineRequest.pb()


class StreamingPull:
    """Pulls one subscription for a worker with so many slots.

    At most `slots + prefetch` messages are out at any time, over all streams. busy: how many slots are taken (any
    thread). lease_seconds: of a message that runs. window: see `flow_control.Prefetch`.
    """

    def __init__(
        self,
        subscription: str,
        *,
        slots: int,
        prefetch: int,
        busy: Callable[[], int],
        lease_seconds: float,
        observer: Observer,
        streams: int = 1,
        window: float = LOOP_SECONDS,
    ) -> None:
        self._subscription = subscription
        self._slots = slots
        self._prefetch = Prefetch(prefetch, window)
        self._busy = busy
        self._observer = observer
        self._io = IoThread(THREAD)
        self._outstanding = Outstanding(self._replied)
        self._acks = Replies(self._acknowledge)
        self._nacks = Replies(lambda ack_ids: self._modify(ack_ids, 0))
        self._leases = Leases(self._outstanding, self._modify, self._nacks, lease_seconds)
        wanted = max(1, min(streams, slots + prefetch))
        self._streams = Streams(
            subscription, wanted, self._capacity, self._free_slots, self._arrived, self._give_up, observer
        )
        self._replies: deque[tuple[Received, bool]] = deque()
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._receive: Callable[[Delivery], None] = _ignore
        self._failed: Callable[[Exception], None] = _ignore
        self._paused = False
        self._closing = False
        self._gave_up = False
        self._tasks: list[asyncio.Task[None]] = []
        self._asked_at: float | None = None  # when the event loop was asked to answer, until it does
        self._blocked = False

    @property
    def paused(self) -> bool:
        """True between `pause` and `resume`."""
        return self._paused

    @property
    def failing_for(self) -> float:
        """For how many seconds every attempt to pull has failed; 0 while one goes well or none is made. Any thread."""
        since = self._streams.failing_since
        return 0.0 if since is None else time.monotonic() - since

    async def open(self, receive: Callable[[Delivery], None], failed: Callable[[Exception], None]) -> None:
        """Start the streams. `receive` and `failed` are called on this loop; `failed` at most once, and for good."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self._receive, self._failed = receive, failed
        self._io.start()
        await self._io.call(self._begin())

    def pause(self) -> None:
        """Pull nothing more from now on. Any thread and signal handlers; does not block."""
        self._paused = True
        self._io.soon(self._intake)

    async def resume(self) -> None:
        if self._closing or self._loop is None:
            return
        self._paused = False
        self._io.soon(self._intake)

    def waited_in_vain(self) -> None:
        """Messages waited too long for a slot: keep none ready until jobs end faster. Any thread; does not block."""
        self._io.soon(self._shrink)

    async def close(self, timeout: float) -> None:
        """Nack whatever has no reply and end, within `timeout` seconds. Never raises."""
        if self._closing or self._loop is None:
            return
        self.pause()
        self._closing = True
        deadline = time.monotonic() + timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout + GRACE_SECONDS):
                await self._io.call(self._end(deadline))

    # On the event loop.

    def _hand_over(self, batch: list[Received]) -> None:
        for received in batch:
            if self._paused:
                received.nack()
                continue
            try:
                self._receive(received)
            except Exception as error:
                received.nack()
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "receiving a delivery failed", "exception": error}
                )

    # On any thread.

    def _replied(self, received: Received, acked: bool) -> None:
        self._replies.append((received, acked))
        if self._woken:
            return
        self._woken = True
        if threading.get_ident() == self._loop_thread and self._loop is not None:
            # The jobs of a batch end within a few turns of the loop: one wake of the other thread, one ack for all.
            self._loop.call_later(COLLECT_SECONDS, self._io.soon, self._send_replies)
        else:
            self._io.soon(self._send_replies)

    def _on_the_event_loop(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # it has been closed meanwhile
            assert self._loop is not None, "nothing is received before `open`"
            self._loop.call_soon_threadsafe(function, *args)

    # On the thread of the streams.

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        steps = ((LOOK_SECONDS, self._look), (TICK, self._tick))
        self._tasks = [loop.create_task(self._repeat(pause, step)) for pause, step in steps]
        self._intake()

    async def _repeat(self, pause: float, step: Callable[[float], None]) -> None:
        while True:
            try:
                step(time.monotonic())
            except Exception as error:
                self._observer.background_loop_failed(THREAD, error, pause)
            await asyncio.sleep(pause)

    def _look(self, now: float) -> None:
        self._streams.look(now)

    def _tick(self, now: float) -> None:
        if self._asked_at is None:
            self._asked_at = now
            self._on_the_event_loop(self._answer)
        elif now - self._asked_at > LOOP_SECONDS:
            self._blocked = True
            self._intake()
            self._give_back(list(self._outstanding.waiting.values()), "event_loop_blocked")
            self._send_replies()  # the loop can't wake this thread for those that it collected
        self._leases.renew(now)

    def _answer(self) -> None:
        self._asked_at = None
        if self._blocked:
            self._blocked = False
            self._io.soon(self._intake)

    def _intake(self) -> None:
        self._streams.accepting = not (self._paused or self._closing or self._blocked or self._gave_up)
        if self._streams.accepting:
            self._streams.fill(time.monotonic())
        else:
            self._streams.close_all()

    def _shrink(self) -> None:
        self._prefetch.waited_in_vain()
        self._streams.close_all()
        self._streams.fill(time.monotonic())

    def _capacity(self) -> int:
        return self._slots + self._prefetch.size

    def _free_slots(self) -> int:
        return self._slots - self._busy() - len(self._outstanding.waiting)

    def _arrived(self, stream: Stream, response: Any) -> None:
        lease_until = time.monotonic() + ACK_DEADLINE_SECONDS
        batch = [Received(raw, stream, self._outstanding, lease_until) for raw in response.received_messages]
        room = 0 if self._paused else max(0, self._capacity() - len(self._outstanding))
        taken, beyond = batch[:room], batch[room:]
        for received in batch:
            self._outstanding.waiting[received.ack_id] = received
        stream.live += len(batch)
        if taken:
            self._leases.receipt(taken)
            self._on_the_event_loop(self._hand_over, taken)
        self._give_back(beyond, "paused" if self._paused else "over_capacity")

    def _give_back(self, batch: list[Received], why: str) -> None:
        for received in batch:
            received.nack()
        if batch:
            self._on_the_event_loop(self._observer.nacked, len(batch), why)

    def _send_replies(self) -> None:
        self._woken = False  # before the first check: what is put after the last one wakes this again
        acks = []
        while self._replies:
            received, acked = self._replies.popleft()
            received.stream.live -= 1
            if acked:
                acks.append(received)
            else:
                self._leases.nack(received)
        now = time.monotonic()
        self._acks.put(acks)
        self._prefetch.jobs_ended(len(acks), now)
        self._streams.fill(now)

    async def _acknowledge(self, ack_ids: list[str]) -> None:
        # The plain protobuf classes: the library's wrappers cost several times as much.
        request = AcknowledgeRequest.wrap(_Acknowledge(subscription=self._subscription, ack_ids=ack_ids))
        await self._streams.client().acknowledge(request, retry=None, timeout=ANSWER_SECONDS)

    async def _modify(self, ack_ids: list[str], seconds: int) -> None:
        raw = _Modify(subscription=self._subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds)
        request = ModifyAckDeadlineRequest.wrap(raw)
        await self._streams.client().modify_ack_deadline(request, retry=None, timeout=ANSWER_SECONDS)

    def _give_up(self, reason: SubscriptionNotReady) -> None:
        self._gave_up = True
        self._on_the_event_loop(self._failed, reason)

    async def _end(self, deadline: float) -> None:
        self._intake()
        for received in (*self._outstanding.waiting.values(), *self._outstanding.running.values()):
            received.nack()
        self._send_replies()
        while (under_way := self._under_way()) and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(under_way, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            task.cancel()
        await self._streams.end()
        self._io.end()

    def _under_way(self) -> set[asyncio.Task[None]]:
        return {*self._streams.tasks, *self._leases.calls, *self._acks.tasks, *self._nacks.tasks}


def _ignore(_: object) -> None:
    """The default callback, until `open` sets one."""
