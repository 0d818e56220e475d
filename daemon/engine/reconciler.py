"""Compares what the database says this worker has claimed with what it runs, once a second.

Run by the main thread. What is claimed and not run is released; what is run and not claimed is cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

from daemon.engine.heartbeat import RunOnLoop, WorkerId
from daemon.engine.running import Running, compare
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
        running: Running,
        run_on_loop: RunOnLoop,
        observer: Observer,
        *,
        now: float,
    ) -> None:
        self._jobs = jobs
        self._worker_id = worker_id
        self._running = running
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
        before = self._running.standings()
        holdings = self._jobs.claimed_jobs(me)
        difference = compare(before, holdings, self._running.standings())
        # A job that was claimed and settled within this comparison looks like a stray; freeing it finds no row.
        strays = difference.held_not_run and self._jobs.release(me, difference.held_not_run)
        if strays:
            self._observer.jobs_released(sorted(strays))
        if difference.over:
            self._jobs.vacate(me, difference.over)
        for job_id, attempt in difference.run_not_held:
            self._observer.claim_lost(job_id, attempt)
            self._run_on_loop(partial(self._running.cancel, job_id, attempt, StopReason.CLAIM_LOST))
