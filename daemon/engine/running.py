"""What this worker is doing right now: one place per delivery, from before its claim until after its settlement.

Filled by the pipeline on the event loop, read by the lifeline from its own thread, which compares it with what the
database says this worker holds. Places are kept in a dict that is copied in one step, so no lock is needed.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from uuid import UUID

import anyio

from daemon.context import StopSignal
from daemon.job import Claim, StopReason


@dataclass(eq=False, slots=True)
class Place:
    """One delivery's way through the worker. `claim` is None while the claim is in flight."""

    job_id: UUID
    claim: Claim | None = None
    claimed_at: float = 0.0
    waiting: bool = False
    settling: bool = False
    signal: StopSignal = field(default_factory=StopSignal)
    scope: anyio.CancelScope | None = None
    cancelled_at: float | None = None

    def claimed(self, claim: Claim) -> None:
        """The claim was given."""
        self.claim = claim
        self.claimed_at = time.monotonic()

    def cancel(self, reason: StopReason) -> None:
        """Stop the handler now. On the event loop only."""
        self.signal.set(reason)
        self.cancelled_at = self.cancelled_at or time.monotonic()
        if self.scope is not None:
            self.scope.cancel()


@dataclass(frozen=True, slots=True)
class Standing:
    """A place as it stood at one moment. `attempt` is None while the claim was in flight."""

    place: Place
    job_id: UUID
    attempt: int | None
    settling: bool


class Taken:
    """A place in the dict of all places, between `with` and its end."""

    __slots__ = ("_number", "_place", "_places")

    def __init__(self, places: dict[int, Place], number: int, place: Place) -> None:
        self._places = places
        self._number = number
        self._place = place

    def __enter__(self) -> Place:
        self._places[self._number] = self._place
        return self._place

    def __exit__(self, *_raised: object) -> None:
        del self._places[self._number]


class Running:
    """All places of this worker."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._numbers = itertools.count()

    def place(self, job_id: UUID) -> Taken:
        """A place for one delivery, taken before the claim is asked for; `with` gives it."""
        return Taken(self._places, next(self._numbers), Place(job_id))

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
            if place.waiting and place.scope is not None:
                place.scope.cancel()

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
    """What the database and this worker disagree about: (job, attempt) pairs."""

    held_not_run: tuple[tuple[UUID, int], ...]
    run_not_held: tuple[tuple[UUID, int], ...]


def compare(before: list[Standing], held: frozenset[tuple[UUID, int]], after: list[Standing]) -> Difference:
    """Compare the holdings read between the two copies. Only what both copies agree on counts as a difference.

    A claim that came in while the holdings were read, or a settlement that began, is no difference.
    """
    known_before, known_after = _known(before), _known(after)
    strays = tuple(sorted(pair for pair in held if not (_knows(known_before, pair) or _knows(known_after, pair))))
    still = {id(one.place) for one in after if not one.settling}
    lost = tuple(
        (one.job_id, one.attempt)
        for one in before
        if one.attempt is not None and id(one.place) in still and (one.job_id, one.attempt) not in held
    )
    return Difference(strays, lost)


def _known(standings: list[Standing]) -> set[tuple[UUID, int | None]]:
    return {(one.job_id, one.attempt) for one in standings}


def _knows(known: set[tuple[UUID, int | None]], pair: tuple[UUID, int]) -> bool:
    return pair in known or (pair[0], None) in known
