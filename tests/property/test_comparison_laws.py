"""Laws of comparing what the database says we hold with what we run: only a lasting difference counts."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.attempt import Attempt, AttemptSnapshot, InFlight
from daemon.engine.reconciliation import compare
from daemon.job import Holdings
from tests.fakes.delivery import a_claim
from tests.property.strategies import FEW

PAIRS = st.tuples(FEW, st.integers(1, 2))
CLAIMED = st.frozensets(PAIRS)


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[list[AttemptSnapshot], list[AttemptSnapshot]]:
    """The same attempts twice; in between some ended, got their claim, or began to settle."""
    before, after = [], []
    for _ in range(draw(st.integers(0, 4))):
        job_id, number = draw(PAIRS)
        attempt = Attempt(job_id)
        claimed, settling = draw(st.booleans()), draw(st.booleans())
        here, stays = draw(st.booleans()), draw(st.booleans())
        if here:
            before.append(AttemptSnapshot(attempt, job_id, number if claimed else None, claimed and settling))
        if stays:
            later = claimed or draw(st.booleans())
            settled = later and (settling or draw(st.booleans()))
            after.append(AttemptSnapshot(attempt, job_id, number if later else None, settled))
    return before, after


@given(snapshots(), CLAIMED)
def test_given_back_is_only_what_was_absent_before_and_after(
    seen: tuple[list[AttemptSnapshot], list[AttemptSnapshot]], claimed_rows: frozenset[tuple[UUID, int]]
) -> None:
    before, after = seen
    strays = compare(before, Holdings(claimed_rows), after).claimed_not_run
    for job_id, attempt in claimed_rows:
        known = any(snapshot.job_id == job_id and snapshot.number in (None, attempt) for snapshot in before + after)
        assert ((job_id, attempt) in strays) == (not known)


@given(snapshots(), CLAIMED)
def test_lost_is_only_what_ran_all_the_time(
    seen: tuple[list[AttemptSnapshot], list[AttemptSnapshot]], claimed_rows: frozenset[tuple[UUID, int]]
) -> None:
    before, after = seen
    for job_id, attempt in compare(before, Holdings(claimed_rows), after).run_not_claimed:
        assert (job_id, attempt) not in claimed_rows
        for copies in (before, after):
            assert (job_id, attempt, False) in {(copy.job_id, copy.number, copy.settling) for copy in copies}


@given(snapshots())
def test_who_has_claimed_what_it_runs_differs_in_nothing(
    seen: tuple[list[AttemptSnapshot], list[AttemptSnapshot]],
) -> None:
    before, _ = seen
    claimed_rows = frozenset((snapshot.job_id, snapshot.number) for snapshot in before if snapshot.number is not None)
    difference = compare(before, Holdings(claimed_rows), before)
    assert difference.claimed_not_run == ()
    assert difference.run_not_claimed == ()


def test_a_claim_that_comes_in_while_the_holdings_are_read_is_not_lost() -> None:
    in_flight, claim = InFlight(), a_claim()
    attempt = Attempt(claim.job_id)
    in_flight.add(attempt)
    before = in_flight.snapshot()
    claimed_rows: frozenset[tuple[UUID, int]] = frozenset()  # read now, committed a moment later:
    attempt.claimed(claim)
    assert compare(before, Holdings(claimed_rows), in_flight.snapshot()).run_not_claimed == ()


def test_a_claim_in_flight_is_never_given_back() -> None:
    in_flight, claim = InFlight(), a_claim()
    attempt = Attempt(claim.job_id)
    in_flight.add(attempt)
    before = in_flight.snapshot()
    in_flight.remove(attempt)
    claimed_rows = frozenset({(claim.job_id, claim.attempt)})
    assert compare(before, Holdings(claimed_rows), in_flight.snapshot()).claimed_not_run == ()
    assert compare([], Holdings(claimed_rows), []).claimed_not_run == ((claim.job_id, claim.attempt),)
