"""A Pub/Sub message together with its reply, and what becomes of one that Pub/Sub gave up delivering.

Deliveries are made by `pubsub/subscriber` (and by the small fakes of the tests) and consumed by `engine/`; dead letters
are passed from there to the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from daemon.job import JobMessage


class Delivery(Protocol):
    """One message that waits for its reply. `ack` and `nack` never block and never fail; the first one counts."""

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

    def ack(self) -> None:
        """The outcome is stored: never send this message again."""
        ...

    def nack(self) -> None:
        """It was never started here: send it again."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job message that Pub/Sub gave up delivering; `history` says after how many deliveries, in words.

    `first_published` is when it was published on the topic of the jobs, by Pub/Sub's clock; None when that is unknown.
    """

    message: JobMessage
    first_published: datetime | None
    history: str


@dataclass(frozen=True, slots=True)
class RecordedDeadLetters:
    """What became of dead letters: how many jobs are published again, how many ended as Errored.

    `refused` says, by job id, why the message of a job without a row can't make one.
    """

    again: int
    ended: int
    refused: Mapping[UUID, str]
