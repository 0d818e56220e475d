"""The messages that have not been acked or nacked yet: which of them wait for a slot, and which run.

Filled by `streaming_pull` on its own thread, emptied by replies on any. What moves a message from one state to the next
is a single `pop` of a dict, which one thread alone can win, so no lock is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daemon.pubsub.stream import Stream


class Received:
    """A `daemon.delivery.Delivery` over a plain protobuf ReceivedMessage, whose fields are read when asked for.

    `lease_seconds` is what the last answered ModifyAckDeadline gave it (0: none was), `lease_until` when that ends.
    `after_modack` is not None while such a call is under way, and takes what has to be nacked after it.
    """

    __slots__ = (
        "_attributes",
        "_outstanding",
        "_raw",
        "ack_id",
        "after_modack",
        "lease_seconds",
        "lease_until",
        "stream",
    )

    def __init__(self, raw: Any, stream: Stream, outstanding: Outstanding, lease_until: float) -> None:
        self.ack_id: str = raw.ack_id
        self.stream = stream
        self.lease_seconds = 0
        self.lease_until = lease_until
        self.after_modack: list[Received] | None = None
        self._raw = raw
        self._outstanding = outstanding
        self._attributes: dict[str, str] | None = None

    @property
    def data(self) -> bytes:
        body: bytes = self._raw.message.data
        return body

    @property
    def attributes(self) -> dict[str, str]:
        if self._attributes is None:
            attributes = self._raw.message.attributes  # dict() of protobuf's own map takes twice as long
            self._attributes = {key: attributes[key] for key in attributes}
        return self._attributes

    @property
    def message_id(self) -> str:
        return str(self._raw.message.message_id)

    @property
    def publish_time(self) -> float:
        time = self._raw.message.publish_time
        return float(time.seconds + time.nanos / 1e9)

    @property
    def delivery_attempt(self) -> int | None:
        return self._raw.delivery_attempt or None

    def start(self) -> bool:
        return self._outstanding.start(self)

    def ack(self) -> None:
        self._outstanding.reply(self, acked=True)

    def nack(self) -> None:
        self._outstanding.reply(self, acked=False)


class Outstanding:
    """All messages without a reply, by ack id. `replied` is called for each reply, on the thread that gave it."""

    def __init__(self, replied: Callable[[Received, bool], None]) -> None:
        self.waiting: dict[str, Received] = {}
        self.running: dict[str, Received] = {}
        self._replied = replied

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)

    def start(self, received: Received) -> bool:
        """It has a slot now; False when it has had its reply already."""
        if self.waiting.pop(received.ack_id, None) is None:
            return False
        self.running[received.ack_id] = received
        return True

    def reply(self, received: Received, *, acked: bool) -> None:
        """The first reply counts, and every other is ignored."""
        ack_id = received.ack_id
        if self.running.pop(ack_id, None) is not None or self.waiting.pop(ack_id, None) is not None:
            self._replied(received, acked)
