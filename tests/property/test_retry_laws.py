"""Laws of waiting: a delay is finite, bounded, does not shrink as failures grow, and jitter stays in its half."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rules.retry import LONGEST_DELAY, Backoff, retry_delay
from tests.property.strategies import CHANCES, backoffs

FAILURES = st.integers(-5, 10**6)


@given(backoffs(), FAILURES, CHANCES)
def test_a_delay_is_bounded(backoff: Backoff, failures: int, chance: float) -> None:
    delay = retry_delay(backoff, failures, lambda: chance)
    assert 0 <= delay <= backoff.maximum <= LONGEST_DELAY


@given(backoffs(), FAILURES, CHANCES)
def test_a_delay_never_shrinks_with_more_failures(backoff: Backoff, failures: int, chance: float) -> None:
    sooner = retry_delay(backoff, failures, lambda: chance)
    assert sooner <= retry_delay(backoff, failures + 1, lambda: chance)


@given(backoffs(), FAILURES, CHANCES)
def test_jitter_draws_from_the_upper_half(backoff: Backoff, failures: int, chance: float) -> None:
    still = Backoff(backoff.initial, backoff.factor, backoff.maximum, jitter=False)
    shaken = Backoff(backoff.initial, backoff.factor, backoff.maximum, jitter=True)
    whole = retry_delay(still, failures, lambda: chance)
    assert whole / 2 <= retry_delay(shaken, failures, lambda: chance) <= whole


@given(st.floats(0, 1000), st.floats(1, 10))
def test_the_first_failure_waits_the_initial_delay(initial: float, factor: float) -> None:
    assert retry_delay(Backoff(initial, factor, 1000, jitter=False), 1, lambda: 0.0) == initial


@pytest.mark.parametrize(
    "terms",
    [
        {"initial": -1},
        {"initial": 10, "maximum": 5},
        {"factor": 0.5},
        {"factor": float("inf")},
        {"factor": float("nan")},
        {"initial": float("nan")},
        {"maximum": float("inf")},
    ],
)
def test_a_backoff_that_could_give_no_delay_is_refused(terms: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a Backoff needs"):
        Backoff(**terms)  # type: ignore[arg-type]
