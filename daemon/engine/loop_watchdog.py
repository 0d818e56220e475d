"""Notices an event loop that does not answer: says what holds it, and ends the worker when it stays so.

Run by the main thread, which asks the loop for an answer once a second. The health port reads its `lag`.
"""

from __future__ import annotations

from collections.abc import Callable

from daemon.engine.heartbeat import RunOnLoop
from daemon.observe import BlockedLoop, Observer

PING_SECONDS = 1.0
BLOCKED_SECONDS = 1.0
REPEAT_SECONDS = 5.0


class LoopWatchdog:
    """Reports a loop that is blocked, and calls `give_up` when it has been for longer than `timeout` seconds."""

    def __init__(
        self,
        run_on_loop: RunOnLoop,
        where: Callable[[], BlockedLoop],
        observer: Observer,
        *,
        timeout: float,
        give_up: Callable[[], None],
    ) -> None:
        self._run_on_loop = run_on_loop
        self._where = where
        self._observer = observer
        self._timeout = timeout
        self._give_up = give_up
        self._due = 0.0
        self._asked_at = 0.0
        self._answered = True
        self._report_at = BLOCKED_SECONDS

    def lag(self, now: float) -> float:
        """Seconds since the loop failed to answer; 0 while it answers. Any thread."""
        return 0.0 if self._answered else now - self._asked_at

    def run_if_due(self, now: float) -> float:
        """Ask the loop, or look whether it has answered; when to call this again."""
        if now < self._due:
            return self._due
        self._due = now + PING_SECONDS
        lag = self.lag(now)
        self._observer.event_loop_lag(lag)
        if self._answered:
            self._asked_at, self._answered, self._report_at = now, False, BLOCKED_SECONDS
            self._run_on_loop(self._answer)
            return self._due
        if lag >= self._report_at:
            self._report_at = lag + REPEAT_SECONDS
            self._observer.event_loop_blocked(lag, self._where())
        if lag > self._timeout:
            self._give_up()
        return self._due

    def _answer(self) -> None:
        self._answered = True
