"""Laws of settlements: every result has one, it names the attempt it ends, and a budget is never overspent."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from daemon.job import (
    Action,
    Cause,
    Claim,
    Failed,
    Interrupted,
    Kind,
    Result,
    Returned,
    Settlement,
    UnfinishedJob,
    Unknown,
)
from daemon.rules.lifecycle import (
    RESTART_WINDOW,
    RetryPolicy,
    admit,
    settle,
    settle_closed,
    settle_released,
    settle_workers_lost,
    time_searching,
)
from daemon.rules.retry import LONGEST_DELAY
from tests.fakes.delivery import a_claim
from tests.property.strategies import CHANCES, CLAIMS, ERRORS, POLICIES, RESULTS, UUIDS

HOLDERS = st.builds(UnfinishedJob, UUIDS, st.none() | UUIDS, st.integers(0, 99), st.integers(0, 9), st.booleans())
GRACE = 300.0


def _is_whole(settlement: Settlement) -> None:
    assert (settlement.action is Action.COMPLETE) == (settlement.result is not None)
    assert (settlement.action is Action.COMPLETE) == (settlement.error is None)
    assert math.isfinite(settlement.delay)
    assert 0 <= settlement.delay <= LONGEST_DELAY
    assert settlement.delay == 0 or settlement.action in (Action.RETRY, Action.INTERRUPT)
    again = settlement.action in (Action.RETRY, Action.INTERRUPT)
    assert (settlement.cause is not None) == again, "a job that comes again says why; one that ended has no cause"


@given(CLAIMS, RESULTS, POLICIES, CHANCES)
def test_every_result_has_a_settlement_of_its_own_attempt(
    claim: Claim, result: Result, policy: RetryPolicy, chance: float
) -> None:
    one = settle(claim, result, policy, GRACE, lambda: chance)
    assert (one.job_id, one.worker_id, one.attempt) == (claim.job_id, claim.worker_id, claim.attempt)
    assert not one.counts_as_loss
    _is_whole(one)


@given(CLAIMS, RESULTS, POLICIES, CHANCES)
def test_only_failures_spend_the_budget_and_never_more_than_it_holds(
    claim: Claim, result: Result, policy: RetryPolicy, chance: float
) -> None:
    one = settle(claim, result, policy, GRACE, lambda: chance)
    if isinstance(result, (Returned, Interrupted)):
        assert not one.counts_as_failure
    if one.action is Action.RETRY and one.counts_as_failure:
        assert claim.failures + 1 < policy.max_attempts
    if isinstance(result, Failed):
        last = result.final or claim.failures + 1 >= policy.max_attempts
        assert (one.action is Action.FAIL) == last


@given(CLAIMS, st.lists(st.text(max_size=5), max_size=3), POLICIES, CHANCES)
def test_an_unknown_job_is_tried_again_until_its_grace_ends(
    claim: Claim, known: list[str], policy: RetryPolicy, chance: float
) -> None:
    one = settle(claim, Unknown(tuple(known)), policy, GRACE, lambda: chance)
    assert one.error is not None
    assert one.error.kind is Kind.UNKNOWN_JOB
    grace_is_over = claim.age >= GRACE and time_searching(claim.attempt) >= GRACE
    assert (one.action is Action.FAIL) == grace_is_over
    assert all(name in one.error.message for name in known)


def test_a_job_that_waited_long_in_a_backlog_is_not_given_up_by_the_first_worker_that_does_not_know_it() -> None:
    one = settle(a_claim(age=86_400.0, attempt=1), Unknown(()), RetryPolicy(), GRACE, lambda: 0.5)
    assert one.action is Action.RETRY


@given(CLAIMS)
def test_only_a_passed_deadline_keeps_a_claim_from_running(claim: Claim) -> None:
    refusal = admit(claim, RetryPolicy())
    passed = claim.deadline_in is not None and claim.deadline_in <= 0
    assert (refusal is not None) == passed
    if refusal is not None:
        assert isinstance(refusal, Failed)
        assert refusal.final


@given(HOLDERS, st.integers(1, 5))
def test_a_lost_worker_counts_and_a_draining_one_does_not(held: UnfinishedJob, max_worker_losses: int) -> None:
    (one,) = settle_workers_lost([held], max_worker_losses)
    assert (one.job_id, one.worker_id, one.attempt) == (held.job_id, held.worker_id, held.attempt)
    assert not one.counts_as_failure, "a lost worker is no failure of the handler"
    assert one.counts_as_loss == (not held.draining)
    assert (one.action is Action.FAIL) == (not held.draining and held.losses + 1 >= max_worker_losses)
    assert one.cause is (
        Cause.INTERRUPTED if held.draining else None if one.action is Action.FAIL else Cause.WORKER_LOST
    )
    _is_whole(one)


@given(st.lists(HOLDERS, max_size=200, unique_by=lambda one: one.job_id), st.integers(2, 5))
def test_jobs_that_were_lost_before_start_again_one_after_the_other(
    held: list[UnfinishedJob], max_worker_losses: int
) -> None:
    settlements = settle_workers_lost(held, max_worker_losses)
    assert [one.job_id for one in settlements] == [job.job_id for job in held]
    again = [(job, one) for job, one in zip(held, settlements, strict=True) if one.action is Action.RETRY]
    first = [one.delay for job, one in again if job.losses == 0 and max_worker_losses > 2]
    later = [one.delay for job, one in again if job.losses > 0]
    assert set(first) <= {0.0}, "the first loss costs no time"
    assert len(set(later)) == len(later), "no two of them start together"
    assert all(0.0 <= one.delay < RESTART_WINDOW for _, one in again)


@given(HOLDERS)
def test_giving_back_costs_nothing(held: UnfinishedJob) -> None:
    one = settle_released(held)
    assert one.action is Action.INTERRUPT
    assert not one.counts_as_failure
    assert not one.counts_as_loss
    _is_whole(one)


@given(HOLDERS, ERRORS)
def test_closing_from_outside_ends_the_attempt_it_saw(held: UnfinishedJob, error: object) -> None:
    one = settle_closed(held, error)  # type: ignore[arg-type]
    assert one.action is Action.CLOSE
    assert (one.worker_id, one.attempt) == (held.worker_id, held.attempt)
    _is_whole(one)
