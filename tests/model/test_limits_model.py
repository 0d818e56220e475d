"""The rules of limits, checked in every state that a small fleet can get into; each rule broken alone does harm."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tests.model.limits import (
    Budget,
    Rules,
    State,
    explore,
    forgotten,
    held_back_by_nothing,
    start,
    too_many_at_once,
    unfinishable,
)

Graph = dict[State, list[tuple[bool, State]]]

SCENARIOS = {
    "crash and duplicate": Budget(crashes=1, duplicates=1),
    "lost answer": Budget(lost_answers=1, failures=1),
    "cancel and failure": Budget(cancels=1, failures=1),
    "cancel and crash": Budget(crashes=1, cancels=1),
    "pause and crash": Budget(crashes=1, pauses=1),
    "pause and failure": Budget(failures=1, pauses=1),
}


def _runs_too_many(graph: Graph) -> bool:
    return any(map(too_many_at_once, graph))


def _never_ends(graph: Graph) -> bool:
    return bool(unfinishable(graph))


def _counts_more_than_there_are(graph: Graph) -> bool:
    return any(state.room < 0 for state in graph)


def _is_held_back_by_nothing(graph: Graph) -> bool:
    return any(map(held_back_by_nothing, graph))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_with_all_rules_no_limit_is_broken_and_everything_ends(scenario: str) -> None:
    graph = explore(Rules(), start(SCENARIOS[scenario]))

    assert not _runs_too_many(graph)
    assert not _counts_more_than_there_are(graph)
    assert not _never_ends(graph)
    assert not _is_held_back_by_nothing(graph)


HARM = {
    "claim_locks_the_limit": ("crash and duplicate", _runs_too_many),
    "a_permit_is_unique": ("lost answer", _counts_more_than_there_are),
    "settlement_releases": ("crash and duplicate", _never_ends),
    "rescue_releases": ("cancel and crash", _never_ends),  # a job that runs again would only use its permit again
    "parked_jobs_are_dated": ("crash and duplicate", _never_ends),
    "occupied_jobs_keep_their_permit": ("cancel and failure", _runs_too_many),
    "resume_waits_for_claims": ("pause and crash", _is_held_back_by_nothing),
}


@pytest.mark.parametrize("rule", HARM)
def test_each_rule_broken_alone_does_harm(rule: str) -> None:
    scenario, does_harm = HARM[rule]
    broken = replace(Rules(), keys_with_room_are_looked_for=rule != "parked_jobs_are_dated", **{rule: False})

    assert does_harm(explore(broken, start(SCENARIOS[scenario])))


def test_a_claim_that_parks_while_its_permit_is_released_is_forgotten_unless_keys_with_room_are_looked_for() -> None:
    broken = replace(Rules(), keys_with_room_are_looked_for=False)

    assert any(map(forgotten, explore(broken, start(Budget()))))


def test_a_wake_up_with_the_snapshot_of_the_release_forgets_waiters_that_a_later_one_finds() -> None:
    early = replace(Rules(), keys_with_room_are_looked_for=False, wake_up_reads_after_the_release=False)
    late = replace(early, wake_up_reads_after_the_release=True)

    assert _forgotten_after_a_settled_claim(explore(early, start(Budget())))
    assert not _forgotten_after_a_settled_claim(explore(late, start(Budget())))


def _forgotten_after_a_settled_claim(graph: Graph) -> bool:
    """Whether a waiter is forgotten that had been parked before the settlement that forgets it."""
    return any(
        forgotten(after) and not any(task.phase == "claim" for task in state.tasks) and state.room <= 0
        for state, following in graph.items()
        for _, after in following
    )


def test_every_rule_is_broken_by_a_test() -> None:
    tested = {*HARM, "keys_with_room_are_looked_for", "wake_up_reads_after_the_release"}

    assert {field.name for field in fields(Rules)} == tested
