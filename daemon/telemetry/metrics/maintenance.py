"""What the relay, the rescue and the sweeper find.

Every worker counts the whole database: take the maximum.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from uuid import UUID

from daemon.observe import Observer
from daemon.telemetry.metrics.registry import BoundedCounter, MetricsRegistry


class MaintenanceMetrics(Observer):
    """What is due or in progress in the database, and what was repaired there."""

    def __init__(self, registry: MetricsRegistry) -> None:
        self._backlog = registry.gauge(
            "headcount_relay_backlog", "Jobs and events due for publication, in the database."
        )
        self._backlog_age = registry.gauge(
            "headcount_relay_backlog_age_seconds", "How long the oldest of them has been due."
        )
        self._relay_run = registry.gauge(
            "headcount_relay_last_run_timestamp_seconds", "When the backlog was last counted."
        )
        self._events_refused = registry.gauge(
            "headcount_events_refused", "Events given up because Pub/Sub refuses them, in the database."
        )
        self._in_progress = registry.gauge(
            "headcount_orchestrations_in_progress", "Unfinished orchestrations, in the database."
        )
        self._oldest = registry.gauge(
            "headcount_oldest_unfinished_age_seconds", "Age of the oldest unfinished orchestration, 0 without one."
        )
        self._rescues = registry.counter("headcount_rescues_total", "Dead workers whose jobs were taken back.")
        self._rescued = registry.counter(
            "headcount_jobs_rescued_total",
            "Jobs taken back from dead workers.",
            "outcome",
            known=("requeued", "errored"),
        )
        self._repairs = registry.counter(
            "headcount_repairs_total", "Rows repaired by the sweeper: each is a bug.", "cause", known=("counters",)
        )
        self._released = registry.counter(
            "headcount_jobs_released_total", "Jobs claimed here but not run: each is a bug."
        )
        self._deadlines = registry.counter("headcount_deadlines_passed_total", "Orchestrations whose deadline passed.")
        self._expired = registry.counter("headcount_jobs_expired_total", "Jobs Errored by a passed deadline.")
        self._failures = BoundedCounter(
            registry.counter("headcount_background_loop_failures_total", "Failures of a background loop.", "loop")
        )

    def backlog(self, due: int, oldest: float) -> None:
        self._backlog.set(due)
        self._backlog_age.set(oldest)
        self._relay_run.set(time.time())

    def events_refused(self, count: int) -> None:
        self._events_refused.set(count)

    def unfinished(self, orchestrations: int, oldest_job: float) -> None:
        self._in_progress.set(orchestrations)
        self._oldest.set(oldest_job)

    def rescued(self, worker_id: UUID, requeued: int, errored: int, jobs: Sequence[UUID]) -> None:
        self._rescues.inc()
        self._rescued.labels("requeued").inc(requeued)
        self._rescued.labels("errored").inc(errored)

    def repaired(self, cause: str, count: int) -> None:
        self._repairs.labels(cause).inc(count)

    def jobs_released(self, jobs: Iterable[UUID]) -> None:
        self._released.inc(sum(1 for _ in jobs))

    def deadline_passed(self, orchestration_id: UUID, errored: int) -> None:
        self._deadlines.inc()
        self._expired.inc(errored)

    def background_loop_failed(self, loop: str, error: BaseException, pause: float) -> None:
        self._failures.inc(loop)
