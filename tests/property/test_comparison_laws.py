"""Laws of comparing what the database says we hold with what we run: only a lasting difference counts."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from daemon.engine.running import Place, Running, Standing, compare
from daemon.job import Holdings
from tests.fakes.delivery import a_claim
from tests.property.strategies import FEW

PAIRS = st.tuples(FEW, st.integers(1, 2))
HELD = st.frozensets(PAIRS)


@st.composite
def standings(draw: st.DrawFn) -> tuple[list[Standing], list[Standing]]:
    """The same places twice; in between some ended, got their claim, or began to settle."""
    before, after = [], []
    for _ in range(draw(st.integers(0, 4))):
        job_id, attempt = draw(PAIRS)
        place = Place(job_id)
        claimed, settling = draw(st.booleans()), draw(st.booleans())
        here, stays = draw(st.booleans()), draw(st.booleans())
        if here:
            before.append(Standing(place, job_id, attempt if claimed else None, claimed and settling))
        if stays:
            later = claimed or draw(st.booleans())
            settled = later and (settling or draw(st.booleans()))
            after.append(Standing(place, job_id, attempt if later else None, settled))
    return before, after


@given(standings(), HELD)
def test_given_back_is_only_what_was_absent_before_and_after(
    seen: tuple[list[Standing], list[Standing]], held: frozenset[tuple[UUID, int]]
) -> None:
    before, after = seen
    strays = compare(before, Holdings(held), after).held_not_run
    for job_id, attempt in held:
        known = any(one.job_id == job_id and one.attempt in (None, attempt) for one in before + after)
        assert ((job_id, attempt) in strays) == (not known)


@given(standings(), HELD)
def test_lost_is_only_what_ran_all_the_time(
    seen: tuple[list[Standing], list[Standing]], held: frozenset[tuple[UUID, int]]
) -> None:
    before, after = seen
    for job_id, attempt in compare(before, Holdings(held), after).run_not_held:
        assert (job_id, attempt) not in held
        assert any((one.job_id, one.attempt, one.settling) == (job_id, attempt, False) for one in before)
        assert any((one.job_id, one.attempt, one.settling) == (job_id, attempt, False) for one in after)


@given(standings())
def test_who_holds_what_it_runs_differs_in_nothing(seen: tuple[list[Standing], list[Standing]]) -> None:
    before, _ = seen
    held = frozenset((one.job_id, one.attempt) for one in before if one.attempt is not None)
    difference = compare(before, Holdings(held), before)
    assert difference.held_not_run == ()
    assert difference.run_not_held == ()


def test_a_claim_that_comes_in_while_the_holdings_are_read_is_not_lost() -> None:
    running = Running()
    claim = a_claim()
    place = running.enter(claim.job_id)
    before = running.standings()
    held: frozenset[tuple[UUID, int]] = frozenset()  # read now, committed a moment later:
    place.claimed(claim)
    assert compare(before, Holdings(held), running.standings()).run_not_held == ()


def test_a_claim_in_flight_is_never_given_back() -> None:
    running = Running()
    claim = a_claim()
    place = running.enter(claim.job_id)
    before = running.standings()
    running.leave(place)
    held = frozenset({(claim.job_id, claim.attempt)})
    assert compare(before, Holdings(held), running.standings()).held_not_run == ()
    assert compare([], Holdings(held), []).held_not_run == ((claim.job_id, claim.attempt),)
