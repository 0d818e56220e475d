"""A job and an orchestration as rows in memory.

Held by `tables`, looked at by tests. They have the columns that the protocol speaks of, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from daemon.job import JobMessage, Settlement, Status


@dataclass
class Row:
    """A job. `history` holds every settlement that was stored for it."""

    message: JobMessage
    attempt: int = 0
    worker: UUID | None = None
    status: Status = Status.IN_PROGRESS
    failures: int = 0
    losses: int = 0
    publish_at: float | None = 0.0
    not_before: float | None = None
    message_id: str = ""
    history: list[Settlement] = field(default_factory=list)

    @property
    def position(self) -> tuple[UUID, int]:
        """Which instance of which orchestration it is."""
        return self.message.orchestration_id, self.message.index


@dataclass
class Group:
    """An orchestration. `ended` is when its last instance was in, `told` that its event is published,
    `tell_at` when it is due."""

    first: JobMessage
    total: int
    completed: int = 0
    errored: int = 0
    ended: float | None = None
    told: bool = False
    tell_at: float | None = None
