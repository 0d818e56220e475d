"""What happens to a job, as pure functions: may it run, and what is stored after an attempt.

Called by the pipeline between claim and run (`admit`) and between run and store (`settle`). Both are total: every
input has an answer, and a settlement never contradicts the claim it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import assert_never

from daemon.job import (
    Action,
    Cause,
    Claim,
    Failed,
    Held,
    Interrupted,
    JobError,
    Kind,
    Result,
    Returned,
    Settlement,
    Unknown,
)
from daemon.rules.retry import LONGEST_DELAY, Backoff, retry_delay

UNKNOWN_JOB_BACKOFF = Backoff(initial=1, factor=2, maximum=30)


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a handler's job may fail, and how it waits in between. `max_attempts` counts failures only."""

    max_attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)


def admit(claim: Claim) -> Result | None:
    """None when the claim may run; otherwise the result that it has without running."""
    if claim.deadline_in is not None and claim.deadline_in <= 0:
        return Failed(JobError(Kind.DEADLINE_EXCEEDED, "the orchestration's deadline has passed"), final=True)
    return None


def settle(
    claim: Claim, result: Result, policy: Policy, unknown_job_patience: float, rng: Callable[[], float]
) -> Settlement:
    """What is stored after an attempt. `unknown_job_patience` is seconds since the job was created."""
    match result:
        case Returned():
            return Settlement(claim.job_id, claim.worker_id, claim.attempt, Action.COMPLETE, result.result)
        case Interrupted():
            error = JobError(Kind.INTERRUPTED, f"the worker stopped it: {result.reason}")
            return _settlement(
                claim, Action.INTERRUPT, error=error, delay=result.still_runs_for, cause=Cause.INTERRUPTED
            )
        case Unknown():
            return _unknown(claim, result, unknown_job_patience, rng)
        case Failed():
            return _failed(claim, result, policy, rng)
        case _:
            assert_never(result)


def _failed(claim: Claim, result: Failed, policy: Policy, rng: Callable[[], float]) -> Settlement:
    failures = claim.failures + 1
    if result.final or failures >= policy.max_attempts:
        return _settlement(claim, Action.FAIL, error=result.error, counts=True)
    delay = retry_delay(policy.backoff, failures, rng) if result.retry_in is None else _bounded(result.retry_in)
    delay = max(delay, result.still_runs_for)
    return _settlement(claim, Action.RETRY, error=result.error, counts=True, delay=delay, cause=Cause.RETRY)


def _bounded(seconds: float) -> float:
    """A delay that a date can hold; a NaN asks for none."""
    return min(seconds, LONGEST_DELAY) if seconds > 0 else 0.0


def _unknown(claim: Claim, result: Unknown, patience: float, rng: Callable[[], float]) -> Settlement:
    names = ", ".join(result.known) or "none"
    error = JobError(Kind.UNKNOWN_JOB, f"no handler is named {claim.job_name!r} here; known: {names}")
    # Patience begins with the first worker that did not know the name, not with a backlog that the job waited in.
    if claim.age >= patience and searched_for(claim.attempt) >= patience:
        return _settlement(claim, Action.FAIL, error=error, counts=True)
    delay = retry_delay(UNKNOWN_JOB_BACKOFF, claim.attempt, rng)
    return _settlement(claim, Action.RETRY, error=error, delay=delay, cause=Cause.RETRY)


def searched_for(attempt: int) -> float:
    """For how many seconds, at most, a job has been looking for a worker that knows its name before this attempt."""
    return sum(retry_delay(UNKNOWN_JOB_BACKOFF, tried, lambda: 1.0) for tried in range(1, min(attempt, 10_000)))


def lose(held: Held, max_losses: int) -> Settlement:
    """What is stored about a job whose worker died while it held it. A draining worker's death is an interruption."""
    if held.draining:
        error = JobError(Kind.INTERRUPTED, f"worker {held.worker_id} ended while it drained")
        return _taken(held, Action.INTERRUPT, error, cause=Cause.INTERRUPTED)
    error = JobError(Kind.WORKER_LOST, f"worker {held.worker_id} stopped its heartbeat during attempt {held.attempt}")
    if held.losses + 1 >= max_losses:
        return _taken(held, Action.FAIL, error, loses=True)
    return _taken(held, Action.RETRY, error, loses=True, cause=Cause.WORKER_LOST)


def give_back(held: Held, delay: float = 0.0) -> Settlement:
    """What is stored about a job that a living worker holds but does not run (a claim whose answer was lost).

    `delay` is for how many seconds its handler may still run here.
    """
    error = JobError(Kind.INTERRUPTED, "the worker held the job without running it and gave it back")
    return replace(_taken(held, Action.INTERRUPT, error, cause=Cause.INTERRUPTED), delay=delay)


def close(held: Held, error: JobError) -> Settlement:
    """What is stored about an unfinished job, held or not, that is ended from outside (cancel, deadline...)."""
    return _taken(held, Action.CLOSE, error)


def _taken(
    held: Held, action: Action, error: JobError, *, loses: bool = False, cause: Cause | None = None
) -> Settlement:
    return Settlement(held.job_id, held.worker_id, held.attempt, action, error=error, loses=loses, cause=cause)


def _settlement(
    claim: Claim,
    action: Action,
    *,
    result: str | None = None,
    error: JobError | None = None,
    delay: float = 0.0,
    counts: bool = False,
    cause: Cause | None = None,
) -> Settlement:
    return Settlement(
        claim.job_id,
        claim.worker_id,
        claim.attempt,
        action,
        result=result,
        error=error,
        delay=delay,
        counts=counts,
        cause=cause,
    )
