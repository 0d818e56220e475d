"""The rules of waits and signals, checked in every state that one job can get into; each broken alone does harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from tests.model.suspensions import Budget, Rules, State, explore, forgotten, parked_while_it_runs, stuck

SCENARIOS = {
    "one signal": Budget(sends=1),
    "sent twice": Budget(sends=2),
    "its sender dies": Budget(sends=1, dead_senders=1),
    "its first sender dies": Budget(sends=2, dead_senders=1),
    "the worker is lost": Budget(sends=1, crashes=1),
    "no signal": Budget(),
}


def _forgets(rules: Rules, budget: Budget) -> bool:
    return any(forgotten(rules, state) for state in explore(rules, State(budget)))


def _never_ends(rules: Rules, budget: Budget) -> bool:
    return stuck(explore(rules, State(budget)))


def _frees_what_runs(rules: Rules, budget: Budget) -> bool:
    return any(map(parked_while_it_runs, explore(rules, State(budget))))


def _stores_it_twice(rules: Rules, budget: Budget) -> bool:
    return any(state.stored > 1 for state in explore(rules, State(budget)))


HARMS = (_forgets, _never_ends, _frees_what_runs, _stores_it_twice)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("does_harm", HARMS)
def test_with_all_rules_no_signal_is_forgotten_and_the_job_ends(
    scenario: str, does_harm: Callable[[Rules, Budget], bool]
) -> None:
    assert not does_harm(Rules(), SCENARIOS[scenario])


BROKEN = {
    "look_reads_after_the_lock": ("one signal", _forgets),
    "park_compares_the_count": ("one signal", _forgets),
    "park_is_fenced": ("the worker is lost", _frees_what_runs),
    "parked_jobs_are_dated": ("no signal", _never_ends),
    "signal_is_stored_before_it_is_counted": ("one signal", _forgets),
    "signal_is_stored_once": ("sent twice", _stores_it_twice),
    "stored_signals_are_counted_by_the_fleet": ("its sender dies", _forgets),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_broken_alone_does_harm(rule: str) -> None:
    scenario, does_harm = BROKEN[rule]
    assert does_harm(replace(Rules(), **{rule: False}), SCENARIOS[scenario])


def _sent_again_after_its_sender_died(rules: Rules) -> bool:
    """Whether a signal is forgotten although it was sent again, by a sender that lived, once it was stored."""
    return any(
        forgotten(rules, state) and not state.budget.sends
        for state in explore(rules, State(SCENARIOS["its first sender dies"]))
        if not state.budget.dead_senders and state.uncounted
    )


def test_a_signal_that_is_sent_again_is_counted_even_where_the_fleet_does_not() -> None:
    alone = replace(Rules(), stored_signals_are_counted_by_the_fleet=False)
    assert _sent_again_after_its_sender_died(replace(alone, repeated_signals_are_counted_again=False))
    assert not _sent_again_after_its_sender_died(alone)


def test_every_rule_is_broken_by_a_test() -> None:
    assert {field.name for field in fields(Rules)} == {*BROKEN, "repeated_signals_are_counted_again"}
