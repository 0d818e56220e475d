"""The library's subscriber client, with the calls of a streaming pull bent to this project's needs; all are public.

Made by `stream` for each streaming pull. Replies are tried again for as long as a lease lasts and never end a stream;
receipts leave aside; and the streaming call tells its stream how it goes, and ends in a way that the library does not
mend by itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.api_core.retry import Retry
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import StreamingPullRequest, StreamingPullResponse

from daemon.pubsub.connection import TRANSIENT, call_error
from daemon.pubsub.leases import Leases
from daemon.pubsub.receipts import Receipts

UNARY_TIMEOUT = 20.0


class Pull(Protocol):
    """The streaming pull that a call belongs to. `reading_since` is when the read began that is waiting.

    `received` counts the bytes of the responses that held messages; `pongs` says that the service sends others too.
    """

    call: Call | None
    reading_since: float | None
    received: int
    pongs: bool

    def give_back(self, ack_ids: list[str]) -> None:
        """Nack what nobody has received."""
        ...

    def end(self, error: GoogleAPICallError | None) -> None:
        """The call is over."""
        ...


class Client(SubscriberClient):
    """The client of one streaming pull of `subscription`. `patient`: whether replies are tried again."""

    def __init__(
        self,
        pull: Pull,
        subscription: str,
        patience: float,
        leases: Leases,
        receipts: Receipts,
        transport: SubscriberGrpcTransport,
    ) -> None:
        super().__init__(transport=transport)
        self.patient = True
        self._pull, self._subscription, self._leases, self._receipts = pull, subscription, leases, receipts
        # Longer makes no sense, the lease is over by then.
        self._retry = Retry(self._passes, initial=0.1, maximum=2.0, timeout=patience)

    def streaming_pull(self, requests: Iterator[StreamingPullRequest] | None = None, **options: Any) -> Call:
        return Call(super().streaming_pull(_asking_for_pongs(requests or iter(())), **options), self._pull)

    def acknowledge(self, *args: Any, **options: Any) -> None:
        with _never_final():
            super().acknowledge(*args, retry=self._retry, timeout=UNARY_TIMEOUT, **options)

    def modify_ack_deadline(self, *args: Any, **options: Any) -> None:
        if self._leases.is_receipt(options["ack_deadline_seconds"]):
            self._receipts.put(options["ack_ids"])
            return
        with _never_final():
            for seconds, ids in self._leases.measured(options["ack_ids"], options["ack_deadline_seconds"]):
                options |= {"ack_ids": ids, "ack_deadline_seconds": seconds}
                super().modify_ack_deadline(*args, retry=self._retry, timeout=UNARY_TIMEOUT, **options)

    def lease(self, ack_ids: list[str]) -> None:
        """Lease messages that have come; that is their receipt. What goes wrong is left to the next renewal."""
        with contextlib.suppress(GoogleAPICallError, RetryError):
            super().modify_ack_deadline(
                subscription=self._subscription,
                ack_ids=ack_ids,
                ack_deadline_seconds=self._leases.waiting,
                retry=self._retry,
                timeout=UNARY_TIMEOUT,
            )

    def _passes(self, error: BaseException) -> bool:
        return self.patient and isinstance(error, TRANSIENT)


class Call:
    """A streaming call that tells its Pull how it goes, and ends for the library in a way that it does not mend."""

    def __init__(self, call: Any, pull: Pull) -> None:
        self._call = call
        self._pull = pull
        self._finishing = False
        pull.call = self
        if not call.add_callback(self._over):
            self._over()

    def __iter__(self) -> Iterator[StreamingPullResponse]:
        return self

    def __next__(self) -> StreamingPullResponse:
        pull = self._pull
        try:
            # The client does not read while all its messages are out, so only a read that waits proves a silence.
            pull.reading_since = time.monotonic()
            response: StreamingPullResponse = next(self._call)
            while self._finishing:
                pull.give_back([message.ack_id for message in response._pb.received_messages])
                response = next(self._call)
        except GoogleAPICallError as error:
            raise call_error(grpc.StatusCode.CANCELLED, f"ended: {error.message}") from error
        finally:
            pull.reading_since = None
        if response._pb.received_messages:
            pull.received += response._pb.ByteSize()
        else:
            pull.pongs = True
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
        self._pull.end(self.error())


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
