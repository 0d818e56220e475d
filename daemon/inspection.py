"""What operators see of a running system: verdicts, jobs, workers and rejected messages, as records.

Read by `postgres/queries`, shown by the command line. `to_json` is the one form in which programs get them. Ages and
delays are seconds by the database's clock; dates have a time zone; params, results and attributes are JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.orchestration import OrchestrationState

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


MEANING = {
    "RUNNING": "a living worker runs them",
    "HELD_BY_DEAD_WORKER": "their worker's heartbeat stopped; another worker rescues them after worker_ttl",
    "UNKNOWN_JOB": "the worker that took them has no handler of this name; they wait for one that has it",
    "WAITING_RETRY": "they failed, and wait for their next attempt",
    "PAUSED": "their job name is paused; they begin when it is resumed",
    "WAITING_LIMIT": "a limit of theirs is full; the longest waiting goes on when a permit is free, or at the rate",
    "WAITING_START": "they are scheduled for later",
    "QUEUED_NO_WORKER": "no worker has a fresh heartbeat: look at the worker pool, or here: headcount run",
    "PUBLICATION_DUE": "their message is due; a relay publishes it within a second, if Pub/Sub answers",
    "MESSAGE_REFUSED": "Pub/Sub refuses their message, as a worker's log says; it is tried again with growing pauses",
    "MESSAGE_OUTSTANDING": "their message is in Pub/Sub and no worker has taken it yet: more slots or workers help",
    "NOT_YET_ARRIVED": "their messages have never arrived here: the producer has not published them all",
    "MESSAGES_REJECTED": "messages that named it contradict what is registered, or can't be read; they run nothing",
    "CANCELLED": "the orchestration is cancelled and its last instances are being closed",
    "EVENT_PENDING": "all are in; the event is due and a relay publishes it within a second, if Pub/Sub answers",
    "EVENT_REFUSED": "all are in, and Pub/Sub refuses the event; `headcount republish ID` sends it again",
    "COMPLETE": "all are in, and the event is published",
}
"""What each verdict means, for people."""


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """An unfinished job, with its worker, its message, its last failure and the limit that it waits for, each None
    where there is none. `limit_place` is its place in line, from 1; `limit_holders` are some jobs with a permit. A
    rate has a `limit_period` in seconds."""

    id: UUID
    index: int
    job_name: str
    attempt: int
    failures: int
    losses: int
    cause: str | None
    publishes: int
    worker_id: UUID | None
    progress_current: float | None
    progress_total: float | None
    progress_message: str | None
    host: str | None
    heartbeat_age: float | None
    started_ago: float | None
    progress_ago: float | None
    published_ago: float | None
    publish_in: float | None
    last_kind: str | None
    last_message: str | None
    waits_limit: str | None
    waits_key: str | None
    verdict: str
    limit_size: int | None = None
    limit_period: float | None = None
    limit_used: int | None = None
    limit_place: int | None = None
    limit_holders: list[UUID] | None = None


@dataclass(frozen=True, slots=True)
class RejectedExample:
    """A rejected message that named an orchestration."""

    id: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One way in which `count` jobs are not finished, with a few of them, or with messages that were rejected."""

    word: str
    count: int
    jobs: tuple[JobSnapshot, ...] = ()
    rejected: tuple[RejectedExample, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an orchestration is not finished, or that it is."""

    state: OrchestrationState
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job, finished or not; `error` has the keys kind, message and traceback."""

    id: UUID
    orchestration_id: UUID
    index: int
    job_name: str
    status: str
    attempt: int
    failures: int
    losses: int
    cause: str | None
    publishes: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress_current: float | None
    progress_total: float | None
    progress_message: str | None
    params: str | None
    result: str | None
    error: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One line of a list of jobs: a row without its params, result and traceback."""

    id: UUID
    index: int
    job_name: str
    status: str
    attempt: int
    failures: int
    losses: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    finish_number: int | None
    worker_id: UUID | None
    progress_current: float | None
    progress_total: float | None
    progress_message: str | None
    error_kind: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class HandlerDescription:
    """What the newest revision of a handler says: JSON Schemas (None where there is none), where its params hold
    secrets, and when a worker of that revision last started."""

    name: str
    revision: str
    params_schema: Mapping[str, object] | None
    result_schema: Mapping[str, object] | None
    secrets: list[str]
    first_started_at: datetime
    last_started_at: datetime


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that did not complete its job."""

    attempt: int
    worker_id: UUID | None
    started_at: datetime | None
    ended_at: datetime
    kind: str
    message: str
    traceback: str | None


@dataclass(frozen=True, slots=True)
class Redelivery:
    """A delivery of a job's message after the first one."""

    cause: str
    message_id: str
    worker_id: UUID | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StepSummary:
    """A durable step without its result; `attempt` recorded it, `kind` is `step`, or `tx` for one with tx=True."""

    name: str
    number: int
    attempt: int
    kind: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """One job: its row, its verdict while it is unfinished, its failed attempts, its repeated deliveries, its steps."""

    job: JobRow
    verdict: Verdict | None
    history: tuple[FailedAttempt, ...]
    redeliveries: tuple[Redelivery, ...]
    steps: tuple[StepSummary, ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken invariant: which check, which row, and what is wrong in words."""

    check: str
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class PausedJob:
    """A job name that is paused, and how many jobs have been delivered and held back since."""

    job_name: str
    paused_at: datetime
    waiting: int


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A registered worker; `holds` jobs are claimed by it in the database, `running` is what it said itself."""

    id: UUID
    host: str
    revision: str
    pool: str
    slots: int
    running: int
    started_at: datetime
    draining_at: datetime | None
    heartbeat_age: float
    holds: int


@dataclass(frozen=True, slots=True)
class RejectedSummary:
    """A rejected message without its body."""

    id: int
    message_id: str
    reason: str
    text: str
    bytes: int
    received_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RejectedMessage:
    """A rejected message, whole."""

    id: int
    message_id: str
    reason: str
    text: str
    data: bytes
    attributes: str
    published_at: datetime | None
    received_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RejectedBody:
    """What a replay publishes; `age` counts from its publication."""

    id: int
    data: bytes
    attributes: str
    age: float


@dataclass(frozen=True, slots=True)
class ReplayCandidate:
    """A rejected message that may be published again, by its number, with the size of its body."""

    id: int
    reason: str
    bytes: int


def to_json(record: DataclassInstance) -> dict[str, object]:
    """A record under the names of its fields, for `json.dumps(..., default=str)`."""
    return asdict(record)
