"""What is counted of maintenance and of the worker itself: rescues, repairs, heartbeats, loops and the drain.

Put together by `metrics.py`, beside `recording.py`. Rare reports: their cost does not matter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from uuid import UUID

from daemon.observe import Observer
from daemon.telemetry.families import (
    REPAIRS,
    CareFamilies,
    Children,
    WorkerFamilies,
)


class CareRecorder(Observer):
    """Counts what the relay, the rescue and the sweeper find."""

    def __init__(self, families: CareFamilies) -> None:
        self._families = families
        self._rescued = Children(families.rescued, ("freed", "errored"))
        self._repairs = Children(families.repairs, REPAIRS)
        self._failures = Children(families.failures)

    def backlog(self, due: int, oldest: float) -> None:
        """Note what is due, and that the relay lives."""
        self._families.backlog.set(due)
        self._families.backlog_age.set(oldest)
        self._families.relay_at.set(time.time())

    def refused_events(self, count: int) -> None:
        """Note how many events were given up."""
        self._families.events_refused.set(count)

    def unfinished(self, orchestrations: int, oldest_job: float) -> None:
        """Note what is in progress."""
        self._families.in_progress.set(orchestrations)
        self._families.oldest.set(oldest_job)

    def rescued(self, worker_id: UUID, freed: int, errored: int, jobs: Sequence[UUID]) -> None:
        """Count what a dead worker left."""
        self._families.rescues.inc()
        self._rescued["freed"].inc(freed)
        self._rescued["errored"].inc(errored)

    def repaired(self, cause: str, count: int) -> None:
        """Count repairs."""
        self._repairs[cause].inc(count)

    def gave_back(self, jobs: Iterable[UUID]) -> None:
        """Count jobs that were held but not run."""
        self._families.gave_back.inc(sum(1 for _ in jobs))

    def deadline_passed(self, orchestration_id: UUID, errored: int) -> None:
        """Count a deadline and its victims."""
        self._families.deadlines.inc()
        self._families.expired.inc(errored)

    def loop_failed(self, loop: str, error: BaseException, pause: float) -> None:
        """Count a failure of a background loop."""
        self._failures[loop].inc()


class WorkerRecorder(Observer):
    """Measures the worker itself."""

    def __init__(self, families: WorkerFamilies) -> None:
        self._families = families

    def worker_born(self, worker_id: UUID, revision: str) -> None:
        """A registration is a heartbeat too."""
        self._families.beat_at.set(time.time())

    def worker_gone(self, worker_id: UUID) -> None:
        """Count a death that others declared."""
        self._families.declared_dead.inc()

    def beat(self, seconds: float, late: float) -> None:
        """Measure a heartbeat."""
        self._families.beat_at.set(time.time())
        self._families.beat_seconds.observe(seconds)
        self._families.beat_lag.observe(late)

    def beat_failed(self, error: BaseException) -> None:
        """Count a heartbeat that was not written."""
        self._families.beat_failures.inc()

    def loop_lag(self, seconds: float) -> None:
        """Measure the event loop."""
        self._families.loop_lag.observe(seconds)

    def draining(self, running: int, seconds: float) -> None:
        """Note when the orderly stop began."""
        self._families.draining_at.set(time.time())
        self._families.drain_budget.set(seconds)

    def drained(self, interrupted: int, seconds: float) -> None:
        """Note how it ended."""
        self._families.drain_seconds.set(seconds)
        self._families.interrupted.inc(interrupted)
