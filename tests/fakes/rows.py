"""A job and an orchestration of the oracle, with what a delivery and the relay look at besides.

Held by `tables`, looked at by tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.job import JobMessage, Settlement
from tests.model.oracle import One, Whole


@dataclass(kw_only=True)
class Row(One):
    """A job. `history` holds every settlement that was stored for it."""

    message: JobMessage
    publish_at: float | None = 0.0
    not_before: float | None = None
    message_id: str = ""
    history: list[Settlement] = field(default_factory=list)


@dataclass(kw_only=True)
class Group(Whole):
    """An orchestration. `ended` is when its last instance was in, `event_at` when its event is due."""

    first: JobMessage
    ended: float | None = None
    event_at: float | None = None
