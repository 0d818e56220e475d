"""What the database says and what runs: every difference is removed, and nothing that is merely under way is one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.heartbeat import WorkerId
from daemon.engine.reconciliation import Reconciler
from daemon.job import StopReason
from tests.fakes.delivery import CLAIM, JOB, WORKER
from tests.fakes.observer import Listening
from tests.unit.engine.worker_row import FakeRow, at_once

UNAVAILABLE = OSError("the database does not answer")


@dataclass
class World:
    """A reconciler at second 0 of its life."""

    row: FakeRow = field(default_factory=FakeRow)
    in_flight: InFlight = field(default_factory=InFlight)
    observer: Listening = field(default_factory=Listening)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.row, WorkerId(WORKER), self.in_flight, at_once, self.observer, now=0.0)

    def job(self) -> Attempt:
        attempt = Attempt(JOB)
        attempt.claimed(CLAIM)
        self.in_flight.add(attempt)
        return attempt


@pytest.fixture
def world() -> World:
    return World()


def test_it_compares_once_a_second(world: World) -> None:
    for tenths in range(35):
        assert world.reconciler.run_if_due(tenths / 10) > tenths / 10
    assert len(world.row.all("claimed_jobs")) == 3


def test_what_is_claimed_and_not_run_is_released(world: World) -> None:
    world.row.claimed = frozenset({(JOB, 3)})
    world.reconciler.run_if_due(1)
    assert world.row.all("release") == [(WORKER, ((JOB, 3),))]
    assert world.observer.all("jobs_released") == [([JOB],)]


def test_what_is_occupied_and_not_run_is_vacated(world: World) -> None:
    world.row.occupied = frozenset({JOB})
    world.reconciler.run_if_due(1)
    assert world.row.all("vacate") == [(WORKER, (JOB,))]


def test_what_is_run_and_not_claimed_is_cancelled(world: World) -> None:
    attempt = world.job()
    world.reconciler.run_if_due(1)
    assert attempt.signal.reason is StopReason.CLAIM_LOST
    assert world.observer.all("claim_lost") == [(JOB, 1)]


def test_what_was_ended_from_outside_is_cancelled_as_such(world: World) -> None:
    attempt = world.job()
    world.row.occupied = frozenset({JOB})
    world.reconciler.run_if_due(1)
    assert attempt.signal.reason is StopReason.ENDED
    assert world.row.all("vacate") == [], "its handler runs"


def test_a_claim_whose_answer_comes_in_during_the_comparison_is_left_alone(world: World) -> None:
    attempt = Attempt(JOB)
    world.in_flight.add(attempt)
    world.row.while_reading = lambda: attempt.claimed(CLAIM)
    world.reconciler.run_if_due(1)
    assert attempt.signal.reason is None
    assert world.observer.all("claim_lost") == []


def test_an_attempt_that_is_being_settled_is_left_alone(world: World) -> None:
    attempt = world.job()
    attempt.settling = True
    world.reconciler.run_if_due(1)
    assert attempt.signal.reason is None


def test_a_comparison_that_fails_changes_nothing_and_is_made_again(world: World) -> None:
    attempt = world.job()
    world.row.failures["claimed_jobs"] = [UNAVAILABLE]
    assert world.reconciler.run_if_due(1) == 2
    assert attempt.signal.reason is None
    assert world.observer.all("heartbeat_failed") == [(UNAVAILABLE,)]
    world.reconciler.run_if_due(2)
    assert attempt.signal.reason is StopReason.CLAIM_LOST
