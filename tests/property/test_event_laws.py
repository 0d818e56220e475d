"""Laws of the event: one id per generation for ever, nothing overwritten by a tag, always within Pub/Sub's limits."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from daemon.orchestration import CompletedOrchestration, Outcome
from daemon.rules.events import event_attributes, event_body, event_id
from daemon.rules.messages import MAX_TAGS, check_tags
from tests.fakes.event_outbox import EPOCH
from tests.property.strategies import UUIDS, completed

SOURCE = "//headcount/projects/p"


@given(completed())
def test_the_same_completion_gives_the_same_event(done: CompletedOrchestration) -> None:
    assert event_body(done) == event_body(replace(done))
    assert event_attributes(done, SOURCE) == event_attributes(replace(done), SOURCE)


@given(UUIDS, UUIDS, st.integers(1, 99), st.integers(1, 99))
def test_an_id_belongs_to_one_generation(one: UUID, other: UUID, first: int, second: int) -> None:
    assert (event_id(one, first) == event_id(other, second)) == ((one, first) == (other, second))


@given(completed(), st.dictionaries(st.sampled_from(["ce-id", "outcome", "job_name", "event_type"]), st.just("forged")))
def test_no_tag_overwrites_what_the_event_says(done: CompletedOrchestration, forged: dict[str, str]) -> None:
    honest = event_attributes(done, SOURCE)
    assert event_attributes(replace(done, tags={**done.tags, **forged}), SOURCE) == honest


@given(completed())
def test_every_tag_is_an_attribute_to_filter_on(done: CompletedOrchestration) -> None:
    attributes = event_attributes(done, SOURCE)
    assert all(attributes[key] == value for key, value in done.tags.items())
    assert attributes["orchestration_id"] == attributes["ce-subject"] == str(done.id)


def test_the_most_tags_that_are_let_in_fit_into_an_event() -> None:
    tags = {f"{number:0252d}": "v" * 1024 for number in range(MAX_TAGS)}
    check_tags(tags)
    example = _example(tags)
    attributes = event_attributes(example, SOURCE)
    assert len(attributes) <= 100
    assert all(len(key.encode()) <= 256 and len(value.encode()) <= 1024 for key, value in attributes.items())


def _example(tags: dict[str, str]) -> CompletedOrchestration:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    name = "n" * 200
    return CompletedOrchestration(UUID(int=1), 1, name, tags, 1, 1, 0, Outcome.COMPLETED, EPOCH, EPOCH, trace)


@given(completed())
def test_the_body_says_the_counts_and_how_it_ended(done: CompletedOrchestration) -> None:
    body = json.loads(event_body(done))
    assert body["completed"] + body["errored"] == body["total"] == done.total
    assert body["outcome"] == done.outcome
    assert body["duration_seconds"] >= 0
