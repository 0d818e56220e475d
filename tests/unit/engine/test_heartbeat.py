"""The heartbeat: regular, honest about a stop, tried again after an error, and a new id after a false death."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.heartbeat import Heartbeat, WorkerId
from daemon.engine.shutdown import Shutdown
from daemon.errors import WorkerGone
from daemon.job import StopReason
from daemon.rules.shutdown import ShutdownPlan
from tests.fakes.delivery import CLAIM, JOB, WORKER
from tests.fakes.observer import Listening
from tests.unit.engine.worker_row import FakeRow, at_once

UNAVAILABLE = OSError("the database does not answer")


@dataclass
class World:
    """A heartbeat every 5 seconds, at second 0 of its life."""

    row: FakeRow = field(default_factory=FakeRow)
    worker_id: WorkerId = field(default_factory=lambda: WorkerId(WORKER))
    in_flight: InFlight = field(default_factory=InFlight)
    observer: Listening = field(default_factory=Listening)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.shutdown = Shutdown(ShutdownPlan.of(6.0), clock=lambda: self.now)
        self.heartbeat = Heartbeat(
            self.row, self.worker_id, self.in_flight, self.shutdown, at_once, self.observer, interval=5.0, now=0.0
        )

    def run_until(self, end: float) -> None:
        while (due := self.heartbeat.run_if_due(self.now)) <= end:
            self.now = due

    def job(self) -> Attempt:
        attempt = Attempt(JOB)
        attempt.claimed(CLAIM)
        self.in_flight.add(attempt)
        return attempt


@pytest.fixture
def world() -> World:
    return World()


def test_a_worker_beats_every_five_seconds_and_is_never_late(world: World) -> None:
    world.run_until(31)
    assert len(world.row.all("heartbeat")) == 6
    assert [late for _, late in world.observer.all("heartbeat")] == [0.0] * 6
    assert world.heartbeat.last == 30


def test_a_heartbeat_that_is_run_late_says_by_how_much(world: World) -> None:
    assert world.heartbeat.run_if_due(7.5) == 12.5
    assert [late for _, late in world.observer.all("heartbeat")] == [2.5]


def test_a_heartbeat_says_how_many_attempts_run(world: World) -> None:
    world.job()
    world.heartbeat.run_if_due(5)
    assert world.row.all("heartbeat") == [(WORKER, 1, False)]


def test_a_heartbeat_that_fails_is_reported_and_tried_again_within_a_second(world: World) -> None:
    world.row.failures["heartbeat"] = [UNAVAILABLE, UNAVAILABLE]
    world.run_until(9)
    assert world.observer.all("heartbeat_failed") == [(UNAVAILABLE,), (UNAVAILABLE,)]
    assert len(world.row.all("heartbeat")) == 3
    assert world.heartbeat.last == 7


def test_a_stop_is_written_at_once_and_once(world: World) -> None:
    world.now = 1.0
    world.shutdown.stop()
    assert world.heartbeat.run_if_due(1.0) == 6.0
    world.heartbeat.run_if_due(1.5)
    assert world.row.all("heartbeat") == [(WORKER, 0, True)]


def test_a_worker_declared_dead_drops_its_handlers_and_lives_on_under_a_new_id(world: World) -> None:
    attempt = world.job()
    world.row.failures["heartbeat"] = [WorkerGone()]
    world.heartbeat.run_if_due(5)
    assert attempt.signal.reason is StopReason.CLAIM_LOST
    assert world.observer.all("worker_declared_dead") == [(WORKER,)]
    [(new,)] = world.row.all("register")
    assert new == world.worker_id.id != WORKER
    world.heartbeat.deregister()
    assert world.row.calls[-1] == ("deregister", (new, 0.0))


def test_a_registration_that_fails_is_tried_again_and_the_handlers_are_dropped_all_the_same(world: World) -> None:
    attempt = world.job()
    world.row.failures = {"heartbeat": [WorkerGone(), WorkerGone()], "register": [UNAVAILABLE]}
    world.heartbeat.run_if_due(5)
    assert attempt.signal.reason is StopReason.CLAIM_LOST
    world.heartbeat.run_if_due(6)
    assert len(world.row.all("register")) == 2
    assert world.row.all("register")[1] == (world.worker_id.id,)


def test_a_draining_worker_is_not_registered_again(world: World) -> None:
    world.row.failures["heartbeat"] = [WorkerGone()]
    world.shutdown.stop()
    world.heartbeat.run_if_due(0.5)
    assert world.row.all("register") == []
    assert world.worker_id.id == WORKER


def test_jobs_whose_threads_still_run_begin_elsewhere_only_after_the_process_has_ended(world: World) -> None:
    world.shutdown.stop()
    world.in_flight.left_threads = True
    world.now = 7.7
    world.heartbeat.deregister()
    assert world.row.all("deregister") == [(WORKER, pytest.approx(world.shutdown.plan.kill_at - 7.7 + 1.0))]


def test_a_deregistration_that_fails_is_reported_and_ends_nothing(world: World) -> None:
    world.row.failures["deregister"] = [UNAVAILABLE]
    world.heartbeat.deregister()
    assert world.observer.all("heartbeat_failed") == [(UNAVAILABLE,)]
