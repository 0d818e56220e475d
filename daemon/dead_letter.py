"""Dead letters: messages that Pub/Sub gave up delivering, as pulled and as recorded.

Made by `pubsub/puller` and by `postgres/dead_letters`, consumed by the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from daemon.job import JobMessage


@dataclass(frozen=True, slots=True)
class PulledMessage:
    """A pulled message. `publish_time` is seconds since the epoch, `ack_id` what `acknowledge` takes."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    publish_time: float
    ack_id: str
    delivery_attempt: int | None = None


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
