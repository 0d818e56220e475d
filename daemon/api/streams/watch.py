"""What is known about one orchestration that somebody follows: its newest state, and its transitions so far.

Fed by the reader, asked by the followers, on one event loop. Everything in it is bounded, and each change is encoded
once, however many follow it. It does no input or output.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import replace
from uuid import UUID

import orjson

from daemon.live import LiveState, Position, Transition
from daemon.progress_link import Shown
from daemon.rules.cursor import Cursor

FACTS_KEPT = 5_000


class Watch:
    """One orchestration. `floor`: transitions up to that finish number are not known here.

    `looked`: it has been read from the database (`as_of`: in which round); `gone`: its row was deleted. `version` rises
    with every change.
    """

    def __init__(self, orchestration_id: UUID, kept: int = FACTS_KEPT) -> None:
        self.id = orchestration_id
        self.epoch = ""
        self.generation = 0
        self.finish_number = 0
        self.floor = 0
        self.version = 0
        self.looked = False
        self.as_of = 0
        self.gone = False
        self.whole = True
        self.final = False
        self.state: LiveState | None = None
        self._shown: dict[frozenset[Shown] | None, bytes] = {}
        self.wakers: set[asyncio.Event] = set()
        self.encoded: dict[tuple[object, ...], bytes] = {}
        self._kept = kept
        self._numbers: list[int] = []
        self._facts: list[bytes] = []

    @property
    def position(self) -> Position:
        """From where on the database is to be read."""
        return Position(self.id, self.generation, self.finish_number)

    @property
    def cursor(self) -> Cursor:
        """The place of whoever has been told everything."""
        return Cursor(self.epoch, self.generation, self.finish_number)

    def facts_after(self, finish_number: int) -> list[bytes]:
        """The known transitions with a higher number, in order, as JSON."""
        return self._facts[bisect_right(self._numbers, finish_number) :]

    def apply(self, epoch: str, state: LiveState | None) -> None:
        """Take over what was read from the database; None when there is no row."""
        before = self._told
        if state is None:
            self.epoch, self.looked, self.gone = epoch, True, self.generation > 0
        elif self._continues(epoch, state):
            self._take(epoch, state)
        else:
            self._forget()
            return
        if before != self._told:
            self.version += 1
            self.encoded.clear()
            self._shown.clear()
            self.wake()

    def shown(self, show: frozenset[Shown] | None) -> bytes:
        """The newest state as JSON, with what a link shows; with all there is for None."""
        if self.state is None:
            return b"null"
        if show not in self._shown:
            self._shown[show] = _state(self.state, show)
        return self._shown[show]

    def wake(self) -> None:
        """Let every follower look whether there is something for it."""
        for waker in self.wakers:
            waker.set()

    @property
    def _told(self) -> tuple[object, ...]:
        state = self.state
        shown = None if state is None else replace(state, since=0, transitions=())
        return (self.epoch, self.generation, self.finish_number, shown, self.looked, self.gone)

    def _continues(self, epoch: str, state: LiveState) -> bool:
        """Whether the look began where this ends, in the same history; if not, the next one begins anew."""
        if state.generation != self.generation:
            return True  # it was read from its beginning
        return epoch == self.epoch and state.finishes >= self.finish_number

    def _take(self, epoch: str, state: LiveState) -> None:
        if state.generation != self.generation or state.since > self.finish_number:
            self._numbers, self._facts = [], []
            self.floor = state.since
        self.epoch, self.generation, self.finish_number = epoch, state.generation, state.finishes
        self.looked, self.gone, self.whole = True, False, state.whole
        self.final = state.completed_at is not None
        self.state = replace(state, transitions=())
        for transition in state.transitions:
            self._numbers.append(transition.finish_number)
            self._facts.append(_fact(transition))
        excess = len(self._facts) - self._kept
        if excess > 0:
            self.floor = self._numbers[excess - 1]
            del self._numbers[:excess], self._facts[:excess]

    def _forget(self) -> None:
        self.generation = self.finish_number = self.floor = 0
        self._numbers, self._facts = [], []
        self.looked = False


def _state(state: LiveState, show: frozenset[Shown] | None) -> bytes:
    shown: dict[str, object] = {"id": state.id, "generation": state.generation, "outcome": state.outcome}
    if show is None:
        shown["job_name"] = state.job_name
    if show is None or Shown.COUNTS in show:
        names = ("total", "completed", "errored", "running", "created_at", "deadline", "cancelled_at", "completed_at")
        shown |= {name: getattr(state, name) for name in names}
    if show is None or Shown.PROGRESS in show:
        shown["instances"] = [
            {
                "index": one.index,
                "job_id": one.job_id,
                "current": one.progress.current,
                "total": one.progress.total,
                "message": one.progress.message,
            }
            for one in state.instances
        ]
    return orjson.dumps(shown)


def _fact(transition: Transition) -> bytes:
    return orjson.dumps(
        {
            "finish_number": transition.finish_number,
            "index": transition.index,
            "job_id": transition.job_id,
            "status": transition.status,
            "kind": transition.kind,
        }
    )
