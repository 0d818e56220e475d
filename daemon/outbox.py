"""The outbox: messages that are due for publication, each leased to whoever publishes it now.

Made by `postgres/outbox` and by the creation of an orchestration, consumed by the relay and the client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class OutboxItem(Generic[Message]):
    """A job or an event that is ours to publish until `publish_at`; from then on a relay takes it again.

    `id` is that of the job or of the orchestration, `version` the job's attempt or the orchestration's generation. What
    has another version or another date by now is no longer ours, and is left alone.
    """

    id: UUID
    version: int
    publish_at: datetime
    message: Message


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is due, unfinished and given up; ages in seconds, 0 when there is nothing."""

    due: int
    oldest: float
    refused_events: int
    unfinished: int
    oldest_unfinished: float
