"""A Pub/Sub message together with its reply: what a source hands to the consumer.

Made by `pubsub/streaming_pull` (and by the small fakes of the tests), consumed by `engine/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Delivery(Protocol):
    """One message to be acked or nacked. `ack` and `nack` never block and never fail; the first one counts."""

    @property
    def data(self) -> bytes:
        """The body, any bytes."""
        ...

    @property
    def attributes(self) -> Mapping[str, str]:
        """The attributes, any text."""
        ...

    @property
    def message_id(self) -> str:
        """The id that Pub/Sub gave the message; a redelivery keeps it."""
        ...

    @property
    def publish_time(self) -> float:
        """When it was published: seconds since the epoch by the service's clock."""
        ...

    @property
    def delivery_attempt(self) -> int | None:
        """How often it was delivered, where a dead-letter policy makes the service count; else None."""
        ...

    def start(self) -> bool:
        """It has a slot now and gets the long lease. False when it has been nacked meanwhile."""
        ...

    def ack(self) -> None:
        """The outcome is stored: never send this message again."""
        ...

    def nack(self) -> None:
        """It was never started here: send it again."""
        ...
