"""A lifeline without a database, a loop thread or real time: a registration, a loop and a clock that tests decide on.

Used by the tests of the lifeline. Waiting moves the clock on; events planned for a moment happen as it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty
from types import SimpleNamespace
from uuid import UUID

import pytest

from daemon.engine import lifeline as lifeline_module
from daemon.engine.attempt import InFlight
from daemon.engine.lifeline import Lifeline, WorkerId
from daemon.job import Holdings
from daemon.observe import BlockedLoop
from daemon.rules.shutdown import ShutdownPlan
from tests.fakes.delivery import WORKER
from tests.fakes.observer import Listening

Pair = tuple[UUID, int]


class Ended(BaseException):
    """The process would have ended here."""


class FakeRegistration:
    """The worker's row; `failures` are raised by the next calls of a method, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.holds: frozenset[Pair] = frozenset()
        self.occupies: frozenset[UUID] = frozenset()
        self.failures: dict[str, list[BaseException]] = {}
        self.while_reading: Callable[[], None] = lambda: None

    def register(self, me: UUID) -> None:
        self._called("register", me)

    def heartbeat(self, me: UUID, running: int, draining: bool) -> None:
        self._called("heartbeat", me, running, draining)

    def claimed_jobs(self, me: UUID) -> Holdings:
        self._called("claimed_jobs", me)
        holds = Holdings(self.holds, self.occupies)
        self.while_reading()
        return holds

    def vacate(self, me: UUID, jobs: Sequence[UUID]) -> None:
        self._called("vacate", me, tuple(jobs))

    def release(self, me: UUID, jobs: Sequence[Pair]) -> frozenset[UUID]:
        self._called("release", me, tuple(jobs))
        return frozenset(job_id for job_id, _ in jobs)

    def deregister(self, me: UUID, delay: float = 0.0) -> int:
        self._called("deregister", me, *([delay] if delay else []))
        return 0

    def all(self, name: str) -> list[tuple[object, ...]]:
        return [arguments for called, arguments in self.calls if called == name]

    def _called(self, name: str, *arguments: object) -> None:
        self.calls.append((name, arguments))
        if self.failures.get(name):
            raise self.failures[name].pop(0)


class FakeLoop:
    """The thread of the event loop: alive until told, and answering unless blocked."""

    def __init__(self) -> None:
        self.alive = True
        self.blocked = False
        self.waiting: list[Callable[[], None]] = []

    def call(self, function: Callable[[], None]) -> None:
        self.waiting.append(function)
        if not self.blocked:
            self.unblock()

    def unblock(self) -> None:
        self.blocked = False
        waiting, self.waiting = self.waiting, []
        for function in waiting:
            function()

    def is_alive(self) -> bool:
        return self.alive

    def where(self) -> BlockedLoop:
        return BlockedLoop(None, (), ("handlers/pressing.py:12 in press",))


class Life:
    """A lifeline in a world of its own. `at(seconds, do)` plans; `live(seconds)` runs it for so long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.registration, self.loop, self.in_flight, self.heard = (
            FakeRegistration(),
            FakeLoop(),
            InFlight(),
            Listening(),
        )
        self.identity = WorkerId(WORKER)
        self.drains, self.exits = 0, []
        self._plans: list[tuple[float, Callable[[], None]]] = []
        monkeypatch.setattr(lifeline_module, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep))
        monkeypatch.setattr(lifeline_module, "SimpleQueue", lambda: SimpleNamespace(put=lambda _: None, get=self._rest))
        monkeypatch.setattr(lifeline_module, "threading", SimpleNamespace(Thread=lambda **_: self._no_thread()))
        monkeypatch.setattr(lifeline_module, "os", SimpleNamespace(_exit=self._exit))
        self.lifeline = Lifeline(
            self.registration,
            self.identity,
            self.in_flight,
            self.loop,
            self.heard,
            beat_seconds=5.0,
            loop_patience=60.0,
            drain=self._drained,
            plan=ShutdownPlan.of(6.0),
        )

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        self._plans.append((self.now + seconds, do))

    def live(self, seconds: float) -> None:
        def end() -> None:
            self.loop.alive = False

        self.at(seconds, end)
        self.lifeline.run()

    def _rest(self, timeout: float) -> None:
        end = self.now + max(timeout, 0.001)
        for moment, do in sorted(self._plans, key=lambda plan: plan[0]):
            if moment <= end:
                self._plans.remove((moment, do))
                self.now = max(self.now, moment)
                do()
                return
        self.now = end
        raise Empty

    def _drained(self) -> None:
        self.drains += 1

    def _exit(self, code: int) -> None:
        self.exits.append(code)
        raise Ended

    def _no_thread(self) -> SimpleNamespace:
        return SimpleNamespace(start=lambda: None)

    def _sleep(self, _seconds: float) -> None:
        raise AssertionError("the lifeline's own thread must not sleep")
