"""The life signs of a worker: a steady beat, an honest comparison, a new life after a false death, a last word."""

from __future__ import annotations

import pytest

from daemon.engine.attempt import Attempt
from daemon.engine.lifeline import FROZEN
from daemon.errors import WorkerGone
from daemon.job import StopReason
from tests.fakes.delivery import CLAIM, JOB, WORKER
from tests.unit.engine.life import Ended, Life

AWAY = OSError("the database is away")


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(monkeypatch)


def _runs_a_job(life: Life) -> Attempt:
    attempt = Attempt(JOB)
    life.in_flight.add(attempt)
    attempt.claimed(CLAIM)
    return attempt


def test_a_worker_beats_every_five_seconds_and_says_farewell_last(life: Life) -> None:
    life.live(31)
    assert len(life.registration.all("heartbeat")) == 6
    assert all(late < 0.1 for _, late in life.heard.all("heartbeat"))
    assert life.registration.calls[-1] == ("deregister", (WORKER,))
    assert len(life.registration.all("deregister")) == 1


def test_a_beat_says_how_many_attempts_run(life: Life) -> None:
    _runs_a_job(life)
    life.registration.holds = frozenset({(JOB, 1)})
    life.live(6)
    assert life.registration.all("heartbeat") == [(WORKER, 1, False)]


def test_a_beat_that_fails_is_reported_and_tried_again_within_a_second_or_so(life: Life) -> None:
    life.registration.failures["heartbeat"] = [AWAY, AWAY]
    life.live(9)
    assert life.heard.all("heartbeat_failed") == [(AWAY,), (AWAY,)]
    assert len(life.registration.all("heartbeat")) == 3


def test_a_worker_declared_dead_drops_its_handlers_and_lives_on_under_a_new_id(life: Life) -> None:
    attempt = _runs_a_job(life)
    life.registration.failures["heartbeat"] = [WorkerGone("gone")]
    life.live(6)
    assert attempt.signal.reason is StopReason.CLAIM_LOST
    assert life.heard.all("worker_declared_dead") == [(WORKER,)]
    [(born,)] = life.registration.all("register")
    assert born == life.identity.id != WORKER
    assert life.registration.calls[-1] == ("deregister", (born,))


def test_a_birth_that_fails_is_tried_again_and_the_handlers_are_dropped_all_the_same(life: Life) -> None:
    attempt = _runs_a_job(life)
    life.registration.failures["heartbeat"] = [WorkerGone("gone"), WorkerGone("gone")]
    life.registration.failures["register"] = [AWAY]
    life.at(5.5, lambda: _assert_stopped(attempt))
    life.live(8)
    assert len(life.registration.all("register")) == 2
    assert life.identity.id == life.registration.all("register")[1][0] != WORKER


def _assert_stopped(attempt: Attempt) -> None:
    assert attempt.signal.reason is StopReason.CLAIM_LOST


def test_a_draining_worker_is_not_born_again(life: Life) -> None:
    life.registration.failures["heartbeat"] = [WorkerGone("gone")]
    life.at(0.5, life.lifeline.stop)
    life.live(2)
    assert life.registration.all("register") == []
    assert life.identity.id == WORKER


def test_what_is_held_and_not_run_is_given_back(life: Life) -> None:
    life.registration.holds = frozenset({(JOB, 3)})
    life.at(1.5, lambda: setattr(life.registration, "holds", frozenset()))
    life.live(3)
    assert life.registration.all("release") == [(WORKER, ((JOB, 3),))]
    assert life.heard.all("jobs_released") == [([JOB],)]


def test_what_is_run_and_not_held_is_cancelled(life: Life) -> None:
    attempt = _runs_a_job(life)
    life.live(1.5)
    assert attempt.signal.reason is StopReason.CLAIM_LOST
    assert life.heard.all("claim_lost") == [(JOB, 1)]


def test_a_claim_whose_answer_comes_in_during_the_comparison_is_left_alone(life: Life) -> None:
    attempt = Attempt(JOB)
    life.in_flight.add(attempt)
    life.registration.while_reading = lambda: attempt.claimed(CLAIM)
    life.at(1.2, lambda: setattr(life.registration, "holds", frozenset({(JOB, 1)})))
    life.live(3)
    assert attempt.signal.reason is None
    assert life.heard.all("claim_lost") == []


def test_an_attempt_that_is_being_settled_is_left_alone(life: Life) -> None:
    attempt = _runs_a_job(life)
    attempt.settling = True
    life.live(3)
    assert attempt.signal.reason is None


def test_a_comparison_that_fails_changes_nothing(life: Life) -> None:
    attempt = _runs_a_job(life)
    life.registration.failures["claimed_jobs"] = [AWAY, AWAY]
    life.live(2.5)
    assert attempt.signal.reason is None
    assert life.heard.all("heartbeat_failed") == [(AWAY,), (AWAY,)]


def test_a_blocked_loop_is_reported_and_the_heart_goes_on(life: Life) -> None:
    life.at(2, lambda: setattr(life.loop, "blocked", True))
    life.at(30, life.loop.unblock)
    life.live(39)
    lags = [lag for (lag,) in life.heard.all("event_loop_lag")]
    assert 25 < max(lags) < 30
    assert lags[-1] == 0
    said = [seconds for seconds, _where in life.heard.all("event_loop_blocked")]
    assert 1.0 <= said[0] < 2.1
    assert len(said) == 6, "again every five seconds while it lasts"
    assert len(life.registration.all("heartbeat")) == 7
    assert life.exits == []


def test_a_loop_that_stays_blocked_is_fatal_after_its_patience(life: Life) -> None:
    life.at(2, lambda: setattr(life.loop, "blocked", True))
    with pytest.raises(Ended):
        life.live(1_000)
    assert life.exits == [FROZEN]
    assert life.registration.calls[-1] == ("deregister", (WORKER,)), "its jobs are free at once, not after a rescue"
    assert 60 <= life.now - 1_000 < 66


def test_a_stop_beats_at_once_as_draining_and_drains(life: Life) -> None:
    life.at(1, life.lifeline.stop)
    life.live(3)
    assert life.registration.all("heartbeat") == [(WORKER, 0, True)]
    assert life.drains == 1


def test_every_further_signal_drains_again_to_cut_it_short(life: Life) -> None:
    life.at(1, life.lifeline.stop)
    life.at(1.1, life.lifeline.stop)
    life.live(3)
    assert life.drains == 2


def test_a_drain_that_does_not_end_is_ended_by_the_farewell(life: Life) -> None:
    _runs_a_job(life)
    life.registration.holds = frozenset({(JOB, 1)})
    life.at(1, life.lifeline.stop)
    life.live(1_000)
    assert life.loop.alive
    assert life.registration.calls[-1] == ("deregister", (WORKER,))
    assert life.now - 1_001 == pytest.approx(life.lifeline.plan.deregister_at, abs=0.2)


def test_a_stop_has_so_much_time_left_and_no_stop_has_none(life: Life) -> None:
    seen: list[float] = []
    life.at(0.5, lambda: seen.append(life.lifeline.left(8.0)))
    life.at(1, life.lifeline.stop)
    life.at(3, lambda: seen.append(life.lifeline.left(8.0)))
    life.at(4, lambda: seen.append(life.lifeline.left(2.0)))
    life.live(5)
    assert seen == [0.0, pytest.approx(6.0), 0.0]


def test_a_failure_stops_once_and_cuts_no_stop_short(life: Life) -> None:
    life.at(1, lambda: life.lifeline.fail(2))
    life.at(2, lambda: life.lifeline.fail(2))
    life.live(3)
    assert life.drains == 1
    assert life.lifeline.draining


def test_a_farewell_that_fails_is_reported(life: Life) -> None:
    life.registration.failures["deregister"] = [AWAY]
    life.live(1)
    assert life.heard.all("heartbeat_failed") == [(AWAY,)]
