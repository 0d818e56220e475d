"""The schedule of a stop fits into what the platform gives, whatever the setting."""

from __future__ import annotations

import itertools
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.rules.shutdown import LONGEST_DRAIN, ShutdownPlan

PLATFORM_KILLS = 10.0
ALLOWED = st.floats(0, LONGEST_DRAIN)


@given(ALLOWED)
def test_every_step_has_time_after_the_one_before_and_the_end_comes_before_nine_seconds(drain_seconds: float) -> None:
    times = astuple(ShutdownPlan.of(drain_seconds))
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 0.07
    assert times[0] == drain_seconds
    assert times[-1] < 9.0 < PLATFORM_KILLS


@given(ALLOWED, ALLOWED)
def test_longer_handlers_never_bring_a_later_step_forward(one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    pairs = zip(astuple(ShutdownPlan.of(shorter)), astuple(ShutdownPlan.of(longer)), strict=True)
    assert all(early <= late + 1e-9 for early, late in pairs)


def test_the_default_leaves_a_second_for_the_last_transaction() -> None:
    plan = ShutdownPlan.of(6.0)
    assert plan.settled_by - plan.cancel_at == pytest.approx(1.0, abs=0.05)
    assert plan.deregister_at == pytest.approx(7.7, abs=0.05)
    assert plan.replied_by == pytest.approx(8.2, abs=0.05)


@pytest.mark.parametrize("seconds", [-0.1, LONGEST_DRAIN + 0.1, float("nan")])
def test_what_does_not_fit_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="drain_seconds"):
        ShutdownPlan.of(seconds)
