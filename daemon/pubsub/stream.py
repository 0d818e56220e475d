"""One streaming pull, opened once: the client's machinery from its first request to the last reply.

Used by `subscriber`, which opens the next one when this one ends. The library's own reopening is switched off: it
allows five tries in 10 s, and a reopened stream is given its full number of messages however many still run.
The only place that touches private attributes of the client; each is guarded, and without it the rest goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import Retry
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture
from google.cloud.pubsub_v1.types import FlowControl
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import StreamingPullRequest, StreamingPullResponse

from daemon.pubsub.connection import TRANSIENT, call_error
from daemon.pubsub.leases import Leases
from daemon.pubsub.scheduler import Handover, LoopScheduler

MAX_BYTES = 64 * 1024 * 1024
MAX_LEASE_SECONDS = 7 * 86_400.0
HOLD_SECONDS = 5.0
PONG_SECONDS = 60.0  # the client pings every 30 s; the service answers at once
UNARY_TIMEOUT = 20.0
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
    """A streaming pull of at most `limit` messages at a time. Its methods are called by one thread."""

    def __init__(
        self,
        subscription: str,
        limit: int,
        lease_seconds: float,
        transport: SubscriberGrpcTransport,
        handover: Handover,
    ) -> None:
        self.limit = limit
        self.opened_at = time.monotonic()
        self.reading_since: float | None = None
        self.pongs = False
        self.received = False
        self._subscription = subscription
        self._scheduler = LoopScheduler(handover, self._ending, self._give_back_held)
        leases = Leases(lease_seconds, self._scheduler.begun)
        self._client = _Client(self, lease_seconds, leases, transport)
        self._flow = FlowControl(
            max_messages=_Limit(limit),
            max_bytes=MAX_BYTES,
            max_lease_duration=MAX_LEASE_SECONDS,
            min_duration_per_lease_extension=leases.renewal,
            max_duration_per_lease_extension=leases.renewal,
        )
        self.call: _Call | None = None
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
    def goes_well(self) -> bool:
        """Whether the service has answered, or has at least not refused it for longer than connecting may take."""
        return self.received or self.pongs or time.monotonic() - self.opened_at > CONNECT_SECONDS

    def open(self, ended: Ended) -> None:
        """Start it; `ended` is called once, on any thread, when it ends by itself."""
        self._ended = ended
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
        self._scheduler.let_go()

    def join(self, timeout: float) -> bool:
        """True when all replies given so far have been sent."""
        if self._future is None:
            return True
        with contextlib.suppress(Exception):
            self._future.result(timeout=max(0.0, timeout))
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
                message.nack()

    @property
    def _manager(self) -> Any:
        return getattr(self._future, "_StreamingPullFuture__manager", None)


class _Client(SubscriberClient):
    """The library's client with three calls of its streaming pull bent to this project's needs; all are public."""

    def __init__(self, stream: Stream, patience: float, leases: Leases, transport: SubscriberGrpcTransport) -> None:
        super().__init__(transport=transport)
        self.patient = True
        self._stream, self._leases = stream, leases
        # Longer makes no sense, the lease is over by then.
        self._retry = Retry(self._passes, initial=0.1, maximum=2.0, timeout=patience)

    def streaming_pull(self, requests: Iterator[StreamingPullRequest] | None = None, **options: Any) -> _Call:
        return _Call(super().streaming_pull(_asking_for_pongs(requests or iter(())), **options), self._stream)

    def acknowledge(self, *args: Any, **options: Any) -> None:
        with _never_final():
            super().acknowledge(*args, retry=self._retry, timeout=UNARY_TIMEOUT, **options)

    def modify_ack_deadline(self, *args: Any, **options: Any) -> None:
        with _never_final():
            for seconds, ids in self._leases.measured(options["ack_ids"], options["ack_deadline_seconds"]):
                options |= {"ack_ids": ids, "ack_deadline_seconds": seconds}
                super().modify_ack_deadline(*args, retry=self._retry, timeout=UNARY_TIMEOUT, **options)

    def _passes(self, error: BaseException) -> bool:
        return self.patient and isinstance(error, TRANSIENT)


class _Call:
    """A streaming call that tells its Stream how it goes, and ends for the library in a way that it does not mend."""

    def __init__(self, call: Any, stream: Stream) -> None:
        self._call = call
        self._stream = stream
        self._finishing = False
        stream.call = self
        if not call.add_callback(self._over):
            self._over()

    def __iter__(self) -> Iterator[StreamingPullResponse]:
        return self

    def __next__(self) -> StreamingPullResponse:
        stream = self._stream
        try:
            # The client does not read while all its messages are out, so only a read that waits proves a silence.
            stream.reading_since = time.monotonic()
            response: StreamingPullResponse = next(self._call)
            while self._finishing:
                stream.give_back([message.ack_id for message in response._pb.received_messages])
                response = next(self._call)
        except GoogleAPICallError as error:
            raise call_error(grpc.StatusCode.CANCELLED, f"ended: {error.message}") from error
        finally:
            stream.reading_since = None
        if response._pb.received_messages:
            stream.received = True
        else:
            stream.pongs = True
        return response

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Ignored: the library would open the next call from here."""

    def is_active(self) -> bool:
        return bool(self._call.is_active())

    def cancel(self) -> None:
        """Not yet: the library closes its half of the stream next. What is still on its way is read and given back.

        A call that is cancelled instead leaves those messages leased to nobody until their time is over.
        """
        self._finishing = True

    def abort(self) -> None:
        """The service does not close its half: end it without."""
        self._call.cancel()

    def error(self) -> GoogleAPICallError | None:
        """Why it ended; None while it goes on, and when it ended well."""
        if self._call.is_active():
            return None
        code = self._call.code()
        if code is None or code is grpc.StatusCode.OK:
            return None
        return call_error(code, self._call.details() or "no details")

    def _over(self) -> None:
        self._stream.end(self.error())


def _asking_for_pongs(requests: Iterator[StreamingPullRequest]) -> Iterator[StreamingPullRequest]:
    for number, request in enumerate(requests):
        if number == 0:
            # The service then answers the client's pings, which tells a link that is half open from one that is quiet.
            request.protocol_version = 1
        yield request


@contextlib.contextmanager
def _never_final() -> Iterator[None]:
    # A RetryError ends the whole stream and kills the thread that keeps the leases; a call error is passed over.
    try:
        yield
    except RetryError as error:
        raise call_error(grpc.StatusCode.UNAVAILABLE, str(error)) from error


def _never(message: object) -> None:
    """The callback that the client asks for; the scheduler does not call it."""
