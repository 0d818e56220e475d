"""Whom the memory of a worker is given to, and whose is taken, for any sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.rules.memory import ADMITTED_SHARE, EVICTION_SHARE, admits, learned, left_to_grow, to_evict

SIZES = st.integers(0, 2**40)
LIMITS = st.integers(2**20, 2**40)


@given(LIMITS, SIZES, SIZES, SIZES)
def test_what_is_admitted_leaves_a_part_of_the_limit_free_when_all_have_grown(
    limit: int, used: int, expected: int, growth: int
) -> None:
    if admits(limit, used, expected, growth):
        assert used + expected + growth <= ADMITTED_SHARE * limit
        assert admits(limit, used, expected), "a job that takes nothing fits where a larger one does"
        assert to_evict(limit, used + expected + growth, [used]) is None, "nobody is let in to be ended"


@given(SIZES, SIZES, SIZES)
def test_a_job_has_its_whole_growth_left_at_its_start_and_never_less_than_none(
    growth: int, start: int, more: int
) -> None:
    assert left_to_grow(growth, start, start) == growth
    assert 0 <= left_to_grow(growth, start, start + more) <= growth


@given(SIZES, SIZES)
def test_what_is_learned_lies_between_what_was_known_and_what_was_seen(known: int, grown: int) -> None:
    assert grown <= learned(known, grown) <= max(known, grown)


@given(SIZES, st.lists(SIZES, min_size=1))
def test_a_handler_that_needs_less_from_now_on_is_believed_in_the_end(known: int, least: list[int]) -> None:
    expected = known
    for _ in range(1000):
        expected = learned(expected, 0)
    assert expected < 8


@given(LIMITS, SIZES, st.lists(SIZES, max_size=8))
def test_only_the_largest_process_is_ended_only_over_the_limit_and_only_if_that_can_help(
    limit: int, others: int, processes: list[int]
) -> None:
    used = others + sum(processes)
    number = to_evict(limit, used, processes)
    if number is not None:
        assert used > EVICTION_SHARE * limit >= others
        assert processes[number] == max(processes) > 0
