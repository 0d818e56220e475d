"""The values of one job: what it is, what an attempt of it returned, and what is stored about that.

Immutable values that cross every floor. The three that are made for every job are not frozen by Python, which would
take 2 us for each. Nothing here reads a clock, a database or a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class Status(StrEnum):
    """The status of a job: one of three words, and InProgress is left exactly once."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    ERRORED = "Errored"


class Kind(StrEnum):
    """Why an attempt did not complete; stored as `error.kind` and in the history."""

    RAISED = "Raised"
    TIMED_OUT = "TimedOut"
    RETRY_LATER = "RetryLater"
    GAVE_UP = "GaveUp"
    PROCESS_DIED = "ProcessDied"
    OUT_OF_MEMORY = "OutOfMemory"
    EXITED = "Exited"
    NOT_STARTED = "NotStarted"
    INVALID_PARAMS = "InvalidParams"
    UNKNOWN_JOB = "UnknownJob"
    RESULT_NOT_STORABLE = "ResultNotStorable"
    STEPS_CHANGED = "StepsChanged"
    INTERRUPTED = "Interrupted"
    EVICTED = "Evicted"
    WORKER_LOST = "WorkerLost"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"
    DEAD_LETTERED = "DeadLettered"


class Cause(StrEnum):
    """Why a job's message was delivered again; every delivery after the first has exactly one."""

    RETRY = "retry"
    INTERRUPTED = "interrupted"
    EVICTED = "evicted"
    WORKER_LOST = "worker_lost"
    LEASE_EXPIRED = "lease_expired"
    DUPLICATE_PUBLISH = "duplicate_publish"
    OPERATOR = "operator"


class StopReason(StrEnum):
    """Why a running handler is asked, or forced, to stop. ENDED: its job was ended from outside (cancel, deadline)."""

    DRAINING = "Draining"
    CLAIM_LOST = "ClaimLost"
    ENDED = "Ended"
    TIMED_OUT = "TimedOut"


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job or an attempt failed. `message` and `traceback` are text that Postgres can hold."""

    kind: Kind
    message: str
    traceback: str | None = None


@dataclass(slots=True, unsafe_hash=True)
class JobMessage:
    """A decoded job message (topic `jobs`).

    `params` is a JSON object as text, or None when the params are in the database. `count` is None when the message
    does not say it.
    """

    job_name: str
    job_id: UUID
    orchestration_id: UUID
    index: int
    count: int | None
    params: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    message_id: str = ""

    @property
    def carries_params(self) -> bool:
        """Whether the job can be made from this message; one without params only points at a row."""
        return self.params is not None


@dataclass(slots=True, unsafe_hash=True)
class Claim:
    """The right to run attempt `attempt` of a job. Durations are seconds; `age` is since the job was created.

    `since_first_start` is since its first attempt began, in this generation of its orchestration.
    """

    job_id: UUID
    orchestration_id: UUID
    worker_id: UUID
    index: int
    count: int
    job_name: str
    params: str
    attempt: int
    failures: int
    losses: int
    tags: Mapping[str, str]
    checkpoint: str | None
    age: float
    deadline_in: float | None
    cause: Cause | None
    traceparent: str | None
    since_first_start: float = 0.0


class Refusal(StrEnum):
    """Why a claim was not given, each read from a row: the message has nothing left to do, so it is acked."""

    FINISHED = "finished"
    CLAIMED = "claimed"
    NOT_DUE = "not_due"
    LIMITED = "limited"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class Refused:
    """The claim was not given. `cause` says why the message came again, when that is known."""

    why: Refusal
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """The message can't become a job; it is kept as rejected under `reason`.

    Where it only contradicts what is registered, its instance waits for the right message; `ends_instance` says that
    this was the right one, which nothing can store.
    """

    reason: str
    text: str
    ends_instance: bool = False


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Nothing conclusive was read about the job: try again, never ack."""


ClaimAnswer = Claim | Refused | Conflict | TryAgain


@dataclass(frozen=True, slots=True)
class Returned:
    """The handler returned; `result` is its value as JSON text."""

    result: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed. `retry_in` is a delay in seconds that the handler asked for; `final` rules out a retry.

    `still_runs_for`: for how many seconds its thread, which nothing can stop but the end of the process, may go on.
    """

    error: JobError
    retry_in: float | None = None
    final: bool = False
    still_runs_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Unknown:
    """No handler has this name here; another revision of the worker may know it."""

    known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The handler was stopped by us (drain, lost claim): no failure of its own. `still_runs_for` as of Failed."""

    reason: StopReason
    still_runs_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Evicted:
    """Its process was ended because the worker ran out of memory: no failure of its own, and it runs again alone."""

    error: JobError


Result = Returned | Failed | Unknown | Interrupted | Evicted


class Action(StrEnum):
    """What a settlement does to the row. CLOSE fails a job from outside, whoever runs it."""

    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    INTERRUPT = "interrupt"
    CLOSE = "close"


@dataclass(slots=True, unsafe_hash=True)
class Settlement:
    """What we do about an attempt: stored in one transaction, then the delivery is acked.

    It holds for the job only as long as `attempt` and `worker_id` are still the row's (None: nobody holds it).
    `delay` (seconds) dates a RETRY, and an INTERRUPT whose thread still runs; `counts_as_failure` says that the
    attempt spends one of the handler's max_attempts, `counts_as_loss` that a worker was lost with it; `cause` is why
    the job's message comes again.
    """

    job_id: UUID
    worker_id: UUID | None
    attempt: int
    action: Action
    result: str | None = None
    error: JobError | None = None
    delay: float = 0.0
    counts_as_failure: bool = False
    counts_as_loss: bool = False
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class UnfinishedJob:
    """An unfinished job as its row shows it, and whether its holder (if any) was draining.

    `losses` are the workers it has lost since its newest durable step was recorded.
    """

    job_id: UUID
    worker_id: UUID | None
    attempt: int
    losses: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the database says a worker holds: the (job, attempt) pairs that it claimed, and the jobs that it occupies.

    Those were ended from outside, and it has not reported yet that their handlers have ended too.
    """

    claimed: frozenset[tuple[UUID, int]]
    occupied: frozenset[UUID] = frozenset()


class Settled(StrEnum):
    """What became of a settlement: stored (now or by an earlier try of ours), or stale and without effect."""

    STORED = "stored"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job says it is: `current` of `total`, and a sentence for the end user."""

    current: float | None
    total: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class RescuedWorker:
    """What was taken back from one dead worker. `completes`: an orchestration completed in this round.

    `jobs` are some of them, those that are Errored first.
    """

    worker_id: UUID
    freed: int
    errored: int
    completes: bool
    jobs: tuple[UUID, ...] = ()
