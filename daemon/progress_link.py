"""Links to the progress of one orchestration, and what was asked for over the API, as records.

Frozen values, written and read by `postgres/links` and `postgres/audit`, told by the API and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Shown(StrEnum):
    """What a link shows: counts and dates; the running instances with their messages; those that have finished."""

    COUNTS = "counts"
    PROGRESS = "progress"
    FACTS = "facts"


@dataclass(frozen=True, slots=True)
class ProgressLink:
    """A link that was signed. It opens nothing from `expires_at` on, and once it is revoked."""

    id: UUID
    orchestration_id: UUID
    show: tuple[Shown, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change that a caller asked for. `count` is how many rows it changed, None until it was carried out."""

    id: int
    asked_at: datetime
    caller: str
    action: str
    orchestration_id: UUID | None
    count: int | None
    detail: str
