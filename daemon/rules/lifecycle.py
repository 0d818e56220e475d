"""What happens to a job, as pure functions: may it run, and what is stored after an attempt.

Called by the pipeline between claim and run (`admit`) and between run and store (`settle`). Both are total: every
input has an answer, and a settlement never contradicts the claim it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from daemon.job import (
    Action,
    Cause,
    Claim,
    Evicted,
    Failed,
    Interrupted,
    JobError,
    Kind,
    Result,
    Returned,
    Settlement,
    UnfinishedJob,
    Unknown,
)
from daemon.rules.retry import LONGEST_DELAY, Backoff, retry_delay

UNKNOWN_JOB_BACKOFF = Backoff(initial=1, factor=2, maximum=30)
RESTART_SPACING = 2.0
"""Seconds between the restarts of two jobs that lost more than one worker."""
RESTART_WINDOW = 60.0
"""Seconds by which the last of them starts again, at the latest."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a handler's job may fail, and how it waits in between. `max_attempts` counts failures only.

    Exceptions of `give_up_on`, and those that are not of `retry_on` (None: all are), end the job. `overall_timeout` is
    in seconds since the job's first attempt began: no attempt goes on, or begins, after that.
    """

    max_attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()
    overall_timeout: float | None = None

    def why_final(self, error: BaseException) -> str | None:
        """Why a job that raised this ends with it; None when it may be tried again. Of a group, each error counts."""
        errors = list(_members(error))
        ends = next((one for one in errors if isinstance(one, self.give_up_on)), None)
        if ends is not None:
            return f"{type(ends).__name__} is in give_up_on"
        if self.retry_on is None:
            return None
        other = next((one for one in errors if not isinstance(one, self.retry_on)), None)
        return None if other is None else f"{type(other).__name__} is not in retry_on"


def admit(claim: Claim, policy: RetryPolicy) -> Result | None:
    """None when the claim may run; otherwise the result that it has without running."""
    if claim.deadline_in is not None and claim.deadline_in <= 0:
        return Failed(JobError(Kind.DEADLINE_EXCEEDED, "the orchestration's deadline has passed"), final=True)
    if policy.overall_timeout is not None and claim.since_first_start >= policy.overall_timeout:
        text = f"the overall timeout of {policy.overall_timeout:g} s has passed"
        return Failed(JobError(Kind.TIMED_OUT, text), final=True)
    return None


def settle(
    claim: Claim,
    result: Result,
    policy: RetryPolicy,
    unknown_job_grace: float,
    rng: Callable[[], float],
    elapsed: float = 0.0,
) -> Settlement:
    """What is stored after an attempt that took `elapsed` seconds. `unknown_job_grace` is since the job was created."""
    match result:
        case Returned():
            return Settlement(claim.job_id, claim.worker_id, claim.attempt, Action.COMPLETE, result.result)
        case Interrupted():
            error = JobError(Kind.INTERRUPTED, f"the worker stopped it: {result.reason}")
            return _settlement(claim, Action.INTERRUPT, error, delay=result.still_runs_for, cause=Cause.INTERRUPTED)
        case Evicted():
            return _settlement(claim, Action.RETRY, result.error, cause=Cause.EVICTED)
        case Unknown():
            return _unknown(claim, result, unknown_job_grace, rng)
        case Failed():
            return _failed(claim, result, policy, rng, claim.since_first_start + elapsed)
        case _:
            assert_never(result)


def _failed(
    claim: Claim, result: Failed, policy: RetryPolicy, rng: Callable[[], float], since_first_start: float
) -> Settlement:
    failures = claim.failures + 1
    if result.final or failures >= policy.max_attempts:
        return _settlement(claim, Action.FAIL, result.error, counts_as_failure=True)
    delay = retry_delay(policy.backoff, failures, rng) if result.retry_in is None else _bounded(result.retry_in)
    delay = max(delay, result.still_runs_for)
    if policy.overall_timeout is not None and since_first_start + delay >= policy.overall_timeout:
        text = f"{result.error.message} (not retried: the overall timeout is {policy.overall_timeout:g} s)"
        return _settlement(claim, Action.FAIL, replace(result.error, message=text), counts_as_failure=True)
    return _settlement(claim, Action.RETRY, result.error, counts_as_failure=True, delay=delay, cause=Cause.RETRY)


def _members(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _members(one)
    else:
        yield error


def _bounded(seconds: float) -> float:
    """A delay that a date can hold; a NaN asks for none."""
    return min(seconds, LONGEST_DELAY) if seconds > 0 else 0.0


def _unknown(claim: Claim, result: Unknown, grace: float, rng: Callable[[], float]) -> Settlement:
    names = ", ".join(result.known) or "none"
    error = JobError(Kind.UNKNOWN_JOB, f"no handler is named {claim.job_name!r} here; known: {names}")
    # The grace period begins with the first worker that did not know the name, not with the time in a backlog.
    if claim.age >= grace and time_searching(claim.attempt) >= grace:
        return _settlement(claim, Action.FAIL, error, counts_as_failure=True)
    delay = retry_delay(UNKNOWN_JOB_BACKOFF, claim.attempt, rng)
    return _settlement(claim, Action.RETRY, error, delay=delay, cause=Cause.RETRY)


def time_searching(attempt: int) -> float:
    """For how many seconds, at most, a job has been looking for a worker that knows its name before this attempt."""
    return sum(retry_delay(UNKNOWN_JOB_BACKOFF, tried, lambda: 1.0) for tried in range(1, min(attempt, 10_000)))


def settle_workers_lost(jobs: Sequence[UnfinishedJob], max_worker_losses: int) -> list[Settlement]:
    """What is stored about jobs whose worker died while they ran; those lost before start again one after the other.

    A job that kills its worker takes along whatever runs beside it. Started together once more, the same jobs would be
    lost together until all of them were given up for the fault of one.
    """
    apart = [job for job in jobs if not job.draining and job.losses + 2 >= min(max_worker_losses, 3)]
    spacing = min(RESTART_SPACING, RESTART_WINDOW / max(len(apart), 1))
    delays = {job.job_id: rank * spacing for rank, job in enumerate(apart)}
    return [_worker_lost(job, max_worker_losses, delays.get(job.job_id, 0.0)) for job in jobs]


def _worker_lost(job: UnfinishedJob, max_worker_losses: int, delay: float) -> Settlement:
    if job.draining:  # its death is an interruption
        error = JobError(Kind.INTERRUPTED, f"worker {job.worker_id} ended while it drained")
        return _settlement(job, Action.INTERRUPT, error, cause=Cause.INTERRUPTED)
    error = JobError(Kind.WORKER_LOST, f"worker {job.worker_id} stopped its heartbeat during attempt {job.attempt}")
    if job.losses + 1 >= max_worker_losses:
        return _settlement(job, Action.FAIL, error, counts_as_loss=True)
    return _settlement(job, Action.RETRY, error, counts_as_loss=True, delay=delay, cause=Cause.WORKER_LOST)


def settle_released(job: UnfinishedJob, delay: float = 0.0) -> Settlement:
    """What is stored about a job that a living worker has claimed and does not run (a claim whose answer was lost).

    `delay` is for how many seconds its handler may still run here.
    """
    error = JobError(Kind.INTERRUPTED, "the worker had claimed the job without running it and released it")
    return _settlement(job, Action.INTERRUPT, error, delay=delay, cause=Cause.INTERRUPTED)


def settle_closed(job: UnfinishedJob, error: JobError) -> Settlement:
    """What is stored about an unfinished job, claimed or not, that is ended from outside (cancel, deadline...)."""
    return _settlement(job, Action.CLOSE, error)


def _settlement(
    job: Claim | UnfinishedJob,
    action: Action,
    error: JobError,
    *,
    delay: float = 0.0,
    counts_as_failure: bool = False,
    counts_as_loss: bool = False,
    cause: Cause | None = None,
) -> Settlement:
    return Settlement(
        job.job_id,
        job.worker_id,
        job.attempt,
        action,
        error=error,
        delay=delay,
        counts_as_failure=counts_as_failure,
        counts_as_loss=counts_as_loss,
        cause=cause,
    )
