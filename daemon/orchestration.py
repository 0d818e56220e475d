"""The values of a fan-out of N jobs, and of the event that says that the last one is in.

Frozen values, used by the rules, the store, the client and the relay. Nothing here reads a clock or a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Generic
from uuid import UUID

from pydantic import JsonValue

from daemon.job import JobError, JobMessage, Kind, Progress, Status
from daemon.outbox import OutboxItem

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    R = TypeVar("R", default=JsonValue)  # only type checkers need the default: what a job that is named returns
else:
    from typing import TypeVar

    R = TypeVar("R")


class Outcome(StrEnum):
    """How an orchestration ended: no errors, some errors, or nothing but errors."""

    COMPLETED = "Completed"
    PARTIAL = "Partial"
    ERRORED = "Errored"


@dataclass(frozen=True, slots=True)
class NewOrchestration:
    """What to create. `params` are JSON objects as text, one per instance; times are by the database's clock. At most
    `parallelism` of them run at once, if it is given."""

    id: UUID
    job_name: str
    params: Sequence[str]
    tags: Mapping[str, str]
    deadline_seconds: float | None = None
    start_at: datetime | None = None
    idempotency_key: str | None = None
    parallelism: int | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """What was created: its jobs, to publish. `is_new` is False when the idempotency key named an older one."""

    id: UUID
    is_new: bool
    jobs: Sequence[OutboxItem[JobMessage]]


@dataclass(frozen=True, slots=True)
class CompletedOrchestration:
    """All that a JobCompleted event says, read with its generation in one statement."""

    id: UUID
    generation: int
    job_name: str
    tags: Mapping[str, str]
    total: int
    completed: int
    errored: int
    outcome: Outcome
    created_at: datetime
    completed_at: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class OrchestrationState:
    """A snapshot of an orchestration's counts; `running` is how many of the unfinished ones a worker holds."""

    id: UUID
    generation: int
    job_name: str
    tags: Mapping[str, str]
    total: int
    completed: int
    errored: int
    running: int
    created_at: datetime
    deadline: datetime | None
    cancelled_at: datetime | None
    completed_at: datetime | None
    outcome: Outcome | None
    event_published_at: datetime | None
    event_refused: str | None = None

    @property
    def finished(self) -> int:
        """How many instances have left InProgress."""
        return self.completed + self.errored


@dataclass(frozen=True, slots=True)
class OrchestrationSummary:
    """One line of a list of orchestrations: its counts, without what would have to be counted in its jobs."""

    id: UUID
    generation: int
    job_name: str
    tags: Mapping[str, str]
    total: int
    completed: int
    errored: int
    created_at: datetime
    deadline: datetime | None
    cancelled_at: datetime | None
    completed_at: datetime | None
    outcome: Outcome | None
    event_published_at: datetime | None

    @property
    def state(self) -> str:
        """`running`, `cancelled` (complete or not), or the outcome."""
        if self.cancelled_at is not None:
            return ListState.CANCELLED.value
        return ListState.RUNNING.value if self.outcome is None else self.outcome.value


class ListState(StrEnum):
    """Which orchestrations to list; `failed` are those with Errored instances, complete or not."""

    RUNNING = "running"
    COMPLETE = "complete"
    COMPLETED = "Completed"
    PARTIAL = "Partial"
    ERRORED = "Errored"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class OrchestrationFilter:
    """Which orchestrations to list: what is None or empty does not restrict. Ages are seconds since the kick-off.

    `kind` is that of an Errored instance; `tags` must all be there.
    """

    state: ListState | None = None
    job_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    kind: Kind | None = None
    older_than: float | None = None
    newer_than: float | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """One finished instance with its original params. `result` and `params` are JSON text."""

    job_id: UUID
    index: int
    finish_number: int
    status: Status
    params: str
    result: str | None
    error: JobError | None
    attempt: int
    failures: int


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """One instance that a worker runs right now, and how far it says it is."""

    job_id: UUID
    index: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class TerminatedSlice:
    """What one slice did: instances ended by a deadline, per orchestration, and all of them; `worked` says whether
    there was anything to look at, `completes` whether an orchestration completed."""

    by_deadline: dict[UUID, int]
    ended: int
    worked: bool
    completes: bool


@dataclass(frozen=True, slots=True)
class InstanceResult(Generic[R]):
    """One finished instance with its original params; `result` for a success, `error` for a failure.

    A result is of the type that the handler's annotation names when the handler itself was kicked off, else JSON.
    Params or a result that nest over 200 levels deep, as older releases accepted them, are given as their JSON text.
    """

    job_id: UUID
    index: int
    params: JsonValue
    result: R | None
    error: JobError | None
