"""The stop of a worker: it begins once, is cut short by a second signal, and always knows how much time is left."""

from __future__ import annotations

import asyncio
import threading

import pytest

from daemon.engine.shutdown import EXIT_FAILED, EXIT_REFUSED, Shutdown, State
from daemon.errors import SlotsExhausted, SubscriptionNotReady
from daemon.rules.shutdown import ShutdownPlan
from tests.harness.waiting import until

PLAN = ShutdownPlan.of(6.0)
FAILURE = SlotsExhausted(5, 10)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shutdown(clock: Clock) -> Shutdown:
    return Shutdown(PLAN, clock)


def test_a_first_signal_stops_a_second_forces_and_the_end_of_the_work_is_the_end(shutdown: Shutdown) -> None:
    seen = [shutdown.state]
    for step in (shutdown.stop, shutdown.stop, shutdown.stop, shutdown.done, shutdown.stop):
        step()
        seen.append(shutdown.state)
    assert seen == [State.RUNNING, State.STOPPING, State.FORCED, State.FORCED, State.DONE, State.DONE]


def test_a_failure_begins_a_stop_and_cuts_none_short(shutdown: Shutdown) -> None:
    shutdown.fail(FAILURE)
    shutdown.fail(SubscriptionNotReady("another", "a fix"))
    assert shutdown.state is State.STOPPING
    assert shutdown.error is FAILURE, "the first one is the cause"


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (FAILURE, EXIT_FAILED), (SubscriptionNotReady("it is missing", ""), EXIT_REFUSED)]
)
def test_the_exit_code_says_whether_it_failed_or_can_never_work(
    shutdown: Shutdown, error: Exception | None, code: int
) -> None:
    if error is not None:
        shutdown.fail(error)
    assert shutdown.exit_code == code


def test_a_stop_has_so_much_time_left_and_no_stop_has_none(shutdown: Shutdown, clock: Clock) -> None:
    assert (shutdown.left(8.0), shutdown.exit_in()) == (0.0, 0.0)
    shutdown.stop()
    clock.now += 2
    shutdown.stop()
    assert shutdown.left(8.0) == 6.0
    assert shutdown.left(2.0) == 0.0
    assert shutdown.exit_in() == pytest.approx(PLAN.kill_at - 2)


def test_a_step_is_due_by_the_clock_or_when_the_work_is_done(shutdown: Shutdown, clock: Clock) -> None:
    assert not shutdown.is_due(0.0), "no stop has begun"
    shutdown.stop()
    assert not shutdown.is_due(7.7)
    clock.now += 7.7
    assert shutdown.is_due(7.7)
    assert not shutdown.is_due(8.2)
    shutdown.done()
    assert shutdown.is_due(8.2)


def test_who_subscribes_hears_of_a_stop_that_began_before(shutdown: Shutdown) -> None:
    early: list[State] = []
    late: list[State] = []
    shutdown.subscribe(lambda: early.append(shutdown.state))
    shutdown.stop()
    shutdown.subscribe(lambda: late.append(shutdown.state))
    shutdown.stop()
    assert early == [State.STOPPING, State.FORCED]
    assert late == [State.STOPPING, State.FORCED]


def test_a_signal_ends_a_wait_of_the_main_thread(shutdown: Shutdown) -> None:
    timer = threading.Timer(0.01, shutdown.stop)
    timer.start()
    shutdown.wait(3600.0, PLAN.deregister_at)
    assert shutdown.stopping


def test_a_wait_never_lasts_beyond_its_moment_of_the_plan(shutdown: Shutdown, clock: Clock) -> None:
    shutdown.stop()
    shutdown.wait(3600.0, PLAN.deregister_at)  # the stop itself
    clock.now += PLAN.deregister_at
    shutdown.wait(3600.0, PLAN.deregister_at)


async def test_the_event_loop_hears_of_a_stop_and_of_its_being_cut_short(shutdown: Shutdown) -> None:
    stopping, forced = shutdown.events()
    thread = threading.Thread(target=shutdown.stop)
    thread.start()
    await asyncio.wait_for(stopping.wait(), 5)
    thread.join()
    assert not forced.is_set()
    shutdown.stop()
    await asyncio.wait_for(forced.wait(), 5)


async def test_a_loop_that_starts_after_the_stop_began_is_told(shutdown: Shutdown) -> None:
    shutdown.stop()
    stopping, _ = shutdown.events()
    await asyncio.wait_for(stopping.wait(), 5)


async def test_a_closed_loop_does_not_disturb_a_stop(shutdown: Shutdown) -> None:
    def subscribe() -> None:
        async def look() -> None:
            shutdown.events()

        asyncio.run(look())

    await asyncio.to_thread(subscribe)
    shutdown.stop()
    assert shutdown.stopping


async def test_a_guarded_process_is_ended_by_its_exit_code_at_the_planned_moment() -> None:
    codes: list[int] = []
    now = [100.0]
    shutdown = Shutdown(PLAN, lambda: now[0], codes.append)
    shutdown.fail(FAILURE)  # before it is guarded: no timer of the interpreter is set in this process
    now[0] += PLAN.exit_at
    shutdown.guard()
    await until(lambda: codes == [EXIT_FAILED])
