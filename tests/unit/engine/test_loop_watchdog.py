"""An event loop that does not answer is reported while it lasts, and given up after its timeout."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from daemon.engine.loop_watchdog import LoopWatchdog
from daemon.observe import BlockedLoop
from tests.fakes.observer import Listening

WHERE = BlockedLoop(None, (), ("handlers/pressing.py:12 in press",))


class FakeLoop:
    """Answers at once, unless it is blocked."""

    def __init__(self) -> None:
        self.blocked = False
        self._waiting: list[Callable[[], None]] = []

    def call(self, function: Callable[[], None]) -> None:
        self._waiting.append(function)
        if not self.blocked:
            self.unblock()

    def unblock(self) -> None:
        self.blocked = False
        waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()


class World:
    """A watchdog with a timeout of 60 seconds; `run` lets it live."""

    def __init__(self) -> None:
        self.loop, self.observer, self.now, self.given_up_at = FakeLoop(), Listening(), 0.0, 0.0
        self.watchdog = LoopWatchdog(self.loop.call, lambda: WHERE, self.observer, timeout=60.0, give_up=self._give_up)

    def run(self, end: float) -> None:
        while self.now < end and not self.given_up_at:
            self.now = min(self.watchdog.run_if_due(self.now), end)

    def _give_up(self) -> None:
        self.given_up_at = self.now


def test_a_loop_that_answers_has_no_lag_and_is_not_reported() -> None:
    world = World()
    world.run(10)
    assert world.observer.all("event_loop_lag") == [(0.0,)] * 10
    assert world.observer.all("event_loop_blocked") == []


def test_a_blocked_loop_is_reported_at_once_and_then_every_five_seconds() -> None:
    world = World()
    world.run(2)
    world.loop.blocked = True
    world.run(30)
    lags = [seconds for seconds, where in world.observer.all("event_loop_blocked") if where is WHERE]
    assert lags[0] == pytest.approx(1.0)
    assert all(later - earlier == 5.0 for earlier, later in pairwise(lags))
    assert len(lags) == 6
    assert world.watchdog.lag(world.now) > 25


def test_a_loop_that_answers_again_has_no_lag_and_the_next_block_is_reported_anew() -> None:
    world = World()
    world.loop.blocked = True
    world.run(3.5)
    world.loop.unblock()
    world.run(6)
    assert world.watchdog.lag(world.now) == 0.0
    world.loop.blocked = True
    world.run(9)
    assert len(world.observer.all("event_loop_blocked")) == 2


def test_a_loop_that_stays_blocked_is_given_up_after_the_timeout() -> None:
    world = World()
    world.run(2)
    world.loop.blocked = True
    world.run(1_000)
    assert 62 <= world.given_up_at <= 64
