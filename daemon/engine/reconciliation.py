"""Compares what the database says this worker has claimed with what it runs, and removes every difference.

Run by the main thread once a second. What is claimed and not run is released; what is run and not claimed is cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import UUID

from daemon.engine.attempt import AttemptSnapshot, InFlight
from daemon.engine.heartbeat import RunOnLoop, WorkerId
from daemon.job import Holdings, StopReason
from daemon.observe import Observer

INTERVAL = 1.0


class ClaimedJobs(Protocol):
    """The jobs that a worker has claimed in the database."""

    def claimed_jobs(self, me: UUID) -> Holdings: ...
    def release(self, me: UUID, jobs: Sequence[tuple[UUID, int]]) -> frozenset[UUID]: ...
    def vacate(self, me: UUID, jobs: Sequence[UUID]) -> None: ...


class Reconciler:
    """Removes every difference that both copies of what runs, before and after the question, agree on."""

    def __init__(
        self,
        jobs: ClaimedJobs,
        worker_id: WorkerId,
        in_flight: InFlight,
        run_on_loop: RunOnLoop,
        observer: Observer,
        *,
        now: float,
    ) -> None:
        self._jobs = jobs
        self._worker_id = worker_id
        self._in_flight = in_flight
        self._run_on_loop = run_on_loop
        self._observer = observer
        self._due = now + INTERVAL

    def run_if_due(self, now: float) -> float:
        """Compare if it is time; when to call this again."""
        if now >= self._due:
            self._due = now + INTERVAL
            try:
                self._reconcile(self._worker_id.id)
            except Exception as error:
                self._observer.heartbeat_failed(error)
        return self._due

    def _reconcile(self, me: UUID) -> None:
        before = self._in_flight.snapshot()
        holdings = self._jobs.claimed_jobs(me)
        difference = compare(before, holdings, self._in_flight.snapshot())
        # A job that was claimed and settled within this comparison looks like a stray; freeing it finds no row.
        strays = difference.claimed_not_run and self._jobs.release(me, difference.claimed_not_run)
        if strays:
            self._observer.jobs_released(sorted(strays))
        if difference.over:
            self._jobs.vacate(me, difference.over)
        for job_id, attempt in difference.run_not_claimed:
            self._observer.claim_lost(job_id, attempt)
            reason = StopReason.ENDED if job_id in holdings.occupied else StopReason.CLAIM_LOST
            self._run_on_loop(partial(self._in_flight.cancel, job_id, attempt, reason))


@dataclass(frozen=True, slots=True)
class Difference:
    """What the two disagree about: (job, attempt number) pairs; `over` are occupied jobs whose handlers have ended."""

    claimed_not_run: tuple[tuple[UUID, int], ...]
    run_not_claimed: tuple[tuple[UUID, int], ...]
    over: tuple[UUID, ...] = ()


def compare(before: list[AttemptSnapshot], holdings: Holdings, after: list[AttemptSnapshot]) -> Difference:
    """Compare the holdings read between the two snapshots. Only what both snapshots agree on counts as a difference.

    A claim that came in while the holdings were read, or a settlement that began, is not a difference.
    """
    claimed = holdings.claimed
    known_before, known_after = _known(before), _known(after)
    strays = tuple(sorted(pair for pair in claimed if not (_knows(known_before, pair) or _knows(known_after, pair))))
    still_run = {id(snapshot.attempt) for snapshot in after if not snapshot.settling}
    lost = tuple(
        (snapshot.job_id, snapshot.number)
        for snapshot in before
        if snapshot.number is not None
        and id(snapshot.attempt) in still_run
        and snapshot.attempt.cancelled_at is None
        and (snapshot.job_id, snapshot.number) not in claimed
    )
    run = {snapshot.job_id for snapshot in after if snapshot.number is not None}
    return Difference(strays, lost, tuple(sorted(holdings.occupied - run)))


def _known(snapshots: list[AttemptSnapshot]) -> set[tuple[UUID, int | None]]:
    return {(snapshot.job_id, snapshot.number) for snapshot in snapshots}


def _knows(known: set[tuple[UUID, int | None]], pair: tuple[UUID, int]) -> bool:
    return pair in known or (pair[0], None) in known
