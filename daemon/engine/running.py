"""What this worker is doing right now: one place per delivery, from before its claim until after its settlement.

Filled by the pipeline on the event loop, read by the main thread, which compares it with what the
database says this worker holds. Places are kept in a dict that is copied in one step, so no lock is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from daemon.context import StopSignal
from daemon.job import Claim, Holdings, StopReason

CLEAN_UP_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class Place:
    """One delivery's way through the worker. `claim` is None while the claim is in flight."""

    job_id: UUID
    claim: Claim | None = None
    claimed_at: float = 0.0
    waiting: bool = False
    settling: bool = False
    in_thread: bool = False
    signal: StopSignal = field(default_factory=StopSignal)
    task: asyncio.Task[object] | None = None
    cancels: int = 0
    timer: asyncio.TimerHandle | None = None
    cancelled_at: float | None = None

    def claimed(self, claim: Claim) -> None:
        """The claim was given."""
        self.claim = claim
        self.claimed_at = time.monotonic()

    def cancel(self, reason: StopReason) -> None:
        """Stop the handler now, and once a second while it goes on regardless. On the event loop only.

        Nothing stops a thread: its attempt goes on until it has ended, unless the process ends before.
        """
        self.signal.set(reason)
        self.cancelled_at = self.cancelled_at or time.monotonic()
        if self.task is not None and (not self.in_thread or reason is StopReason.DRAINING):
            self.cancels += 1
            self.task.cancel()
            self.call_later(CLEAN_UP_SECONDS, partial(self.cancel, reason))

    def open(self, task: asyncio.Task[object]) -> None:
        """From here until `close`, `cancel` reaches this task. (A cancel scope of anyio does it for 6 us a job.)"""
        self.task = task

    def close(self) -> None:
        """Take back every cancellation of ours, whether the handler let it through or swallowed it."""
        self._stop_timer()
        task, self.task = self.task, None
        while task is not None and self.cancels:
            self.cancels -= 1
            task.uncancel()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function, unless the next call of this or `close` comes first."""
        assert self.task is not None, "a place is open while it has a timer"
        self._stop_timer()
        self.timer = self.task.get_loop().call_later(seconds, function)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A place as it stood at one moment. `attempt` is None while the claim was in flight."""

    place: Place
    job_id: UUID
    attempt: int | None
    settling: bool


class Running:
    """All places of this worker. `left_threads`: threads of handlers were left to end with the process."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self.left_threads = False

    def enter(self, job_id: UUID) -> Place:
        """A place for one delivery, taken before the claim is asked for, until `leave`."""
        place = Place(job_id)
        self._places[id(place)] = place
        return place

    def leave(self, place: Place) -> None:
        """The delivery is at its end."""
        del self._places[id(place)]

    def places(self) -> list[Place]:
        """A copy of all places. Any thread."""
        return list(self._places.values())

    def standings(self) -> list[Standing]:
        """How all places stand now: a copy that stays as it is. Any thread."""
        copies = ((place, place.claim) for place in self.places())
        return [
            Standing(place, place.job_id, None if claim is None else claim.attempt, place.settling)
            for place, claim in copies
        ]

    @property
    def attempts(self) -> int:
        """How many attempts run."""
        return sum(place.claim is not None for place in self.places())

    def stuck_threads(self, seconds: float) -> int:
        """How many slots are out of use, held by threads that go on longer than `seconds` after they were told."""
        return sum(
            place.in_thread and place.cancelled_at is not None and time.monotonic() - place.cancelled_at > seconds
            for place in self.places()
        )

    def stuck(self, seconds: float) -> list[tuple[Claim, float]]:
        """Attempts that go on although they were cancelled longer ago than `seconds`, and since when."""
        now = time.monotonic()
        return [
            (place.claim, now - place.cancelled_at)
            for place in self.places()
            if place.claim is not None
            and not place.settling
            and place.cancelled_at is not None
            and now - place.cancelled_at > seconds
        ]

    def ask_to_stop(self, reason: StopReason) -> None:
        """Tell every handler, on the event loop. None is forced; a job that waits for its turn does not begin."""
        for place in self.places():
            place.signal.set(reason)
            if place.waiting:
                place.cancel(reason)

    def cancel_all(self, reason: StopReason) -> None:
        """Force every handler that is not being settled. On the event loop only."""
        for place in self.places():
            if place.claim is not None and not place.settling:
                place.cancel(reason)

    def cancel(self, job_id: UUID, attempt: int, reason: StopReason) -> None:
        """Force the handler of one attempt. On the event loop only."""
        for place in self.places():
            if place.claim is not None and place.job_id == job_id and place.claim.attempt == attempt:
                place.cancel(reason)


@dataclass(frozen=True, slots=True)
class Difference:
    """What the database and this worker disagree about: (job, attempt) pairs; `over` are occupied jobs whose handlers
    have ended."""

    held_not_run: tuple[tuple[UUID, int], ...]
    run_not_held: tuple[tuple[UUID, int], ...]
    over: tuple[UUID, ...] = ()


def compare(before: list[Standing], holdings: Holdings, after: list[Standing]) -> Difference:
    """Compare the holdings read between the two copies. Only what both copies agree on counts as a difference.

    A claim that came in while the holdings were read, or a settlement that began, is not a difference.
    """
    held = holdings.claimed
    known_before, known_after = _known(before), _known(after)
    strays = tuple(sorted(pair for pair in held if not (_knows(known_before, pair) or _knows(known_after, pair))))
    still = {id(one.place) for one in after if not one.settling}
    lost = tuple(
        (one.job_id, one.attempt)
        for one in before
        if one.attempt is not None
        and id(one.place) in still
        and one.place.cancelled_at is None
        and (one.job_id, one.attempt) not in held
    )
    run = {one.job_id for one in after if one.attempt is not None}
    return Difference(strays, lost, tuple(sorted(holdings.occupied - run)))


def _known(standings: list[Standing]) -> set[tuple[UUID, int | None]]:
    return {(one.job_id, one.attempt) for one in standings}


def _knows(known: set[tuple[UUID, int | None]], pair: tuple[UUID, int]) -> bool:
    return pair in known or (pair[0], None) in known
