"""One streaming pull, opened once: the client's machinery from its first request to the last reply.

Used by `subscriber`, which opens the next one when this one ends. The library's own reopening is switched off: it
allows five tries in 10 s, and a reopened stream is given its full number of messages however many still run.
The only place that touches private attributes of the client; each is guarded, and without it the rest goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
from google.cloud.pubsub_v1.types import FlowControl
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from daemon.pubsub.client import Call, Client
from daemon.pubsub.leases import Leases
from daemon.pubsub.receipts import Receipts
from daemon.pubsub.scheduler import Handover, LoopScheduler

MAX_BYTES = 64 * 1024 * 1024  # of all streams; Pub/Sub's messages have at most 10 MB, and one always fits
LEAST_BYTES = 16 * 1024 * 1024
MAX_LEASE_SECONDS = 7 * 86_400.0
HOLD_SECONDS = 5.0
PONG_SECONDS = 60.0  # the client pings every 30 s; the service answers at once
FINISH_SECONDS = 1.0
CONNECT_SECONDS = 1.5  # a connection that can't be had is given up after one

Ended = Callable[["Stream", GoogleAPICallError | None], None]


class _Limit(int):
    """A number of messages that is reached only when it is reached.

    The client stops reading at a load of 1.0 and goes on under 0.8, load being `held / max_messages`: of ten slots up
    to two would stay idle behind long jobs. This number makes the load full or nothing, so each reply reads on.
    """

    def __rtruediv__(self, held: int) -> float:
        return 1.0 if held >= int(self) else 0.0


class Stream:
    """A streaming pull of at most `limit` messages at a time, one of `streams`. One thread calls its methods."""

    def __init__(
        self,
        subscription: str,
        limit: int,
        lease_seconds: float,
        transport: SubscriberGrpcTransport,
        handover: Handover,
        streams: int,
    ) -> None:
        self.limit = limit
        self.opened_at = time.monotonic()
        self.reading_since: float | None = None
        self.pongs = False
        self.received = 0
        self._subscription = subscription
        self._receipts = Receipts(lambda ack_ids: self._client.lease(ack_ids))
        self._scheduler = LoopScheduler(handover, self._ending, self._give_back_held, self._receipts.replied)
        leases = Leases(lease_seconds, self._scheduler.begun)
        self._client = Client(self, subscription, lease_seconds, leases, self._receipts, transport)
        self._flow = FlowControl(
            max_messages=_Limit(limit),
            max_bytes=max(MAX_BYTES // streams, LEAST_BYTES),
            max_lease_duration=MAX_LEASE_SECONDS,
            min_duration_per_lease_extension=leases.renewal,
            max_duration_per_lease_extension=leases.renewal,
        )
        self.call: Call | None = None
        self._future: StreamingPullFuture | None = None
        self._ended: Ended | None = None
        self._retired_at = 0.0
        self._once = threading.Lock()
        self._oldest_held: tuple[object, float] | None = None

    @property
    def live(self) -> int:
        """How many of its deliveries wait for their reply."""
        return len(self._scheduler.live)

    @property
    def live_bytes(self) -> int:
        """How many bytes those have."""
        return self._scheduler.live_bytes

    @property
    def goes_well(self) -> bool:
        """Whether the service has answered, or has at least not refused it for longer than connecting may take."""
        return bool(self.received) or self.pongs or time.monotonic() - self.opened_at > CONNECT_SECONDS

    def open(self, ended: Ended) -> None:
        """Start it; `ended` is called once, on any thread, when it ends by itself."""
        self._ended = ended
        self._receipts.start()
        self._future = self._client.subscribe(
            self._subscription,
            callback=_never,
            flow_control=self._flow,
            scheduler=self._scheduler,  # type: ignore[arg-type]  # annotated ThreadScheduler, documented as Scheduler
            await_callbacks_on_shutdown=True,
        )

    def retire(self) -> None:
        """Read nothing more; keep the leases and send the replies of what is live. Does not block."""
        self._ended = None
        self._retired_at = time.monotonic()
        if self._future is not None:
            self._future.cancel()

    def give_back(self, ack_ids: list[str]) -> None:
        """Nack what nobody has received."""
        if ack_ids:
            with contextlib.suppress(GoogleAPICallError):
                self._client.modify_ack_deadline(
                    subscription=self._subscription, ack_ids=ack_ids, ack_deadline_seconds=0
                )

    def finished(self) -> bool:
        """Looked at several times a second once it is retired: True when nothing of it is left to do."""
        if self.call is not None and self.call.is_active() and time.monotonic() - self._retired_at > FINISH_SECONDS:
            self.call.abort()
        return not self.live and self.join(0)

    def release(self) -> None:
        """Give back what is live, without waiting for replies or for a service that is away."""
        self._client.patient = False
        self._receipts.end()
        self._scheduler.let_go()

    def join(self, timeout: float) -> bool:
        """True when all replies given so far have been sent."""
        if self._future is None:
            return True
        with contextlib.suppress(Exception):
            self._future.result(timeout=max(0.0, timeout))
        if self._future.done():
            self._receipts.end()
        return self._future.done()

    def end(self, error: GoogleAPICallError | None) -> None:
        """The call is over; called on a thread of gRPC or of the client."""
        with self._once:
            ended, self._ended = self._ended, None
        if ended is not None:
            ended(self, error)

    def look(self) -> str | None:
        """Looked at several times a second while it is open: why it is broken without having ended, or None."""
        now = time.monotonic()
        if self.pongs and self.reading_since is not None and now - self.reading_since > PONG_SECONDS:
            return f"the service has been silent for {PONG_SECONDS:.0f} s"
        self._look_at_held(now)
        if not self._receipts.is_alive():
            return "the thread of the receipts died"
        for part in ("_consumer", "_leaser", "_dispatcher"):
            # Each part of the client is a thread; one that died leaves a stream that looks open. Nothing public tells.
            thread = getattr(getattr(self._manager, part, None), "_thread", None)
            if isinstance(thread, threading.Thread) and not thread.is_alive():
                return f"the client's thread {thread.name} died"
        return None

    def _ending(self) -> None:
        self.end(self.call.error() if self.call is not None else None)

    def _look_at_held(self, now: float) -> None:
        # Messages that came beyond the limit are leased without being started, behind jobs of hours if need be, while
        # other workers idle: the same one seen at the front for too long sends all of them back.
        held = getattr(getattr(self._manager, "_messages_on_hold", None), "_messages_on_hold", None)
        front = held[0] if held else None
        if front is None or self._oldest_held is None or self._oldest_held[0] is not front:
            self._oldest_held = None if front is None else (front, now)
        elif now - self._oldest_held[1] > HOLD_SECONDS:
            self._oldest_held = None
            self._give_back_held()

    def _give_back_held(self) -> None:
        # The client would nack these only when the last live delivery has its reply.
        manager = self._manager
        on_hold = getattr(manager, "_messages_on_hold", None)
        lock = getattr(manager, "_pause_resume_lock", None)
        if on_hold is None or lock is None or not hasattr(on_hold, "get"):
            return
        with lock:
            while (message := on_hold.get()) is not None:
                if hasattr(manager, "_on_hold_bytes"):
                    manager._on_hold_bytes = max(0, manager._on_hold_bytes - message.size)
                self._receipts.replied(message.ack_id)
                message.nack()

    @property
    def _manager(self) -> Any:
        return getattr(self._future, "_StreamingPullFuture__manager", None)


def _never(message: object) -> None:
    """The callback that the client asks for; the scheduler does not call it."""
