"""The worker itself: its slots, heartbeat, event loop and orderly stop.

Some gauges are read at each scrape; `Metrics.gauges` names those readings.
"""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

from daemon.observe import Observer
from daemon.telemetry.metrics.registry import TIME_BUCKETS, MetricsRegistry

LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class WorkerMetrics(Observer):
    """Measures the worker itself."""

    def __init__(self, registry: MetricsRegistry, revision: str) -> None:
        labels = ("version", "revision", "python", "pubsub")
        info = registry.gauge("headcount_worker_info", "1; the labels say what runs here.", *labels)
        pubsub = _version("google-cloud-pubsub")
        info.labels(_version("headcount"), revision, platform.python_version(), pubsub).set(1)
        self.slots = registry.gauge("headcount_slots", "How many jobs may run at the same time.")
        self.slots_used = registry.gauge("headcount_slots_used", "How many jobs run.")
        self._memory = registry.gauge("headcount_memory_bytes", "What this worker's processes take together.")
        self._memory_expected = registry.gauge(
            "headcount_memory_expected_bytes", "What running `process` jobs will add to it, as far as is known."
        )
        self._memory_limit = registry.gauge("headcount_memory_limit_bytes", "What they may take; 0 without a limit.")
        self._memory_short = registry.gauge("headcount_memory_short", "1 while no jobs are taken for lack of memory.")
        self._heartbeat_at = registry.gauge(
            "headcount_heartbeat_timestamp_seconds", "When the last heartbeat was written."
        )
        self._heartbeat_lag = registry.histogram(
            "headcount_heartbeat_lag_seconds", "How late heartbeats began.", LAG_BUCKETS
        )
        self._heartbeat_duration = registry.histogram(
            "headcount_heartbeat_duration_seconds", "How long heartbeats took.", TIME_BUCKETS
        )
        self._heartbeat_failures = registry.counter(
            "headcount_heartbeat_failures_total", "Heartbeats that were not written."
        )
        self._loop_lag = registry.histogram(
            "headcount_event_loop_lag_seconds", "How late the event loop answered.", LAG_BUCKETS
        )
        self._declared_dead = registry.counter("headcount_worker_declared_dead_total", "Times others declared it dead.")
        self._draining_at = registry.gauge(
            "headcount_draining_timestamp_seconds", "When the orderly stop began; 0 before it."
        )
        self.drain_budget = registry.gauge("headcount_drain_budget_seconds", "How long handlers may go on in a stop.")
        self._drain_duration = registry.gauge(
            "headcount_drain_duration_seconds", "How long the orderly stop took, once it is over."
        )
        self._interrupted = registry.counter("headcount_drain_interrupted_jobs_total", "Jobs interrupted by the stop.")

    def worker_registered(self, worker_id: UUID, revision: str) -> None:
        self._heartbeat_at.set(time.time())  # a registration is a heartbeat too

    def worker_declared_dead(self, worker_id: UUID) -> None:
        self._declared_dead.inc()

    def heartbeat(self, seconds: float, late: float) -> None:
        self._heartbeat_at.set(time.time())
        self._heartbeat_duration.observe(seconds)
        self._heartbeat_lag.observe(late)

    def heartbeat_failed(self, error: BaseException) -> None:
        self._heartbeat_failures.inc()

    def event_loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def memory_measured(self, used: int, expected: int, limit: int) -> None:
        self._memory.set(used)
        self._memory_expected.set(expected)
        self._memory_limit.set(limit)

    def memory_short(self, short: bool, used: int, expected: int) -> None:
        self._memory_short.set(short)

    def draining(self, running: int, seconds: float) -> None:
        self._draining_at.set(time.time())
        self.drain_budget.set(seconds)

    def drained(self, interrupted: int, seconds: float) -> None:
        self._drain_duration.set(seconds)
        self._interrupted.inc(interrupted)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
