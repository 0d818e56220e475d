"""One delivery on its way through this worker, from its start until its reply, and the set of all of them.

Made by the consumer, carried along the pipeline, handed to an executor while its handler runs. The main thread reads
snapshots and compares them with what the database says this worker has claimed. Attempts are kept in a dict that is
copied in one step, so no lock is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from daemon.job import Claim, StopReason
from daemon.stop_signal import StopSignal


class Attempt:
    """What one delivery leads to, while it is in flight.

    `job_id` is None until its claim is asked for, `claim` until a claim was given.
    `releases` are called when the handler has ended: they free the slot, and the turn of a handler with `concurrency`.
    """

    __slots__ = (
        "_interrupt", "cancelled_at", "claim", "claimed_at", "in_thread", "job_id", "releases", "settling",
        "signal", "task", "waiting",
    )  # fmt: skip

    def __init__(self, job_id: UUID | None = None, claim: Claim | None = None) -> None:
        self.job_id = job_id
        self.claim = claim
        self.claimed_at = 0.0
        self.waiting = False
        self.settling = False
        self.in_thread = False
        self.cancelled_at: float | None = None
        self.signal = StopSignal()
        self.task: asyncio.Task[None] | None = None  # keeps it from the garbage collector
        self.releases: list[Callable[[], None]] = []
        self._interrupt: Callable[[StopReason], None] | None = None

    def claimed(self, claim: Claim) -> None:
        """The claim was given."""
        self.claim = claim
        self.claimed_at = time.monotonic()

    def on_cancel(self, interrupt: Callable[[StopReason], None] | None) -> None:
        """From here on `cancel` calls this function; None when the handler has ended."""
        self._interrupt = interrupt

    @property
    def is_running(self) -> bool:
        """Whether `cancel` would reach something."""
        return self._interrupt is not None

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop. What waits for its turn does not begin. On the event loop only."""
        self.signal.set(reason)
        if self.waiting:
            self.cancel(reason)

    def cancel(self, reason: StopReason) -> None:
        """Stop the handler now, as far as its executor can. On the event loop only."""
        self.signal.set(reason)
        self.cancelled_at = self.cancelled_at or time.monotonic()
        if self._interrupt is not None:
            self._interrupt(reason)

    def handler_done(self) -> None:
        """Free the slot, and whatever else bounds how many run at once. May be called again."""
        while self.releases:
            self.releases.pop()()


@dataclass(frozen=True, slots=True)
class AttemptSnapshot:
    """An attempt as it was at one moment. `number` is None while the claim was in flight."""

    attempt: Attempt
    job_id: UUID
    number: int | None
    settling: bool


class InFlight:
    """All attempts of this worker. `left_threads`: threads of handlers were left to end with the process."""

    def __init__(self) -> None:
        self._attempts: dict[int, Attempt] = {}
        self.left_threads = False

    def add(self, attempt: Attempt) -> None:
        """Before its claim is asked for, until `remove`."""
        self._attempts[id(attempt)] = attempt

    def remove(self, attempt: Attempt) -> None:
        """It has had its reply."""
        del self._attempts[id(attempt)]

    @property
    def count(self) -> int:
        """How many deliveries are on their way."""
        return len(self._attempts)

    def all(self) -> list[Attempt]:
        """A copy. Any thread."""
        return list(self._attempts.values())

    def snapshot(self) -> list[AttemptSnapshot]:
        """How all stand now: a copy that stays as it is. Any thread."""
        copies = [(attempt, attempt.job_id, attempt.claim) for attempt in self.all()]
        return [
            AttemptSnapshot(attempt, job_id, None if claim is None else claim.attempt, attempt.settling)
            for attempt, job_id, claim in copies
            if job_id is not None
        ]

    @property
    def claimed(self) -> int:
        """How many have their claim."""
        return sum(attempt.claim is not None for attempt in self.all())

    @property
    def running(self) -> int:
        """How many have their claim and are not being settled."""
        return sum(attempt.claim is not None and not attempt.settling for attempt in self.all())

    def stuck_threads(self, seconds: float) -> int:
        """How many slots are out of use, taken by threads that go on longer than `seconds` after they were told."""
        limit = time.monotonic() - seconds
        return sum(
            attempt.in_thread and attempt.cancelled_at is not None and attempt.cancelled_at < limit
            for attempt in self.all()
        )

    def stuck(self, seconds: float) -> list[tuple[Claim, float]]:
        """What goes on although it was cancelled longer ago than `seconds`, and since when."""
        now = time.monotonic()
        return [
            (attempt.claim, now - attempt.cancelled_at)
            for attempt in self.all()
            if attempt.claim is not None and not attempt.settling
            if attempt.cancelled_at is not None and now - attempt.cancelled_at > seconds
        ]

    def ask_to_stop(self, reason: StopReason) -> None:
        """Tell every handler, on the event loop. None is forced."""
        for attempt in self.all():
            attempt.stop(reason)

    def cancel_all(self, reason: StopReason) -> None:
        """Force every handler that is not being settled. On the event loop only."""
        for attempt in self.all():
            if attempt.claim is not None and not attempt.settling:
                attempt.cancel(reason)

    def cancel(self, job_id: UUID, number: int, reason: StopReason) -> None:
        """Force the handler of one attempt of a job. On the event loop only."""
        for attempt in self.all():
            if attempt.claim is not None and attempt.job_id == job_id and attempt.claim.attempt == number:
                attempt.cancel(reason)
