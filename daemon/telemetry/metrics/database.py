"""The database from the worker's side.

Reports come from the event loop, the heartbeat's thread and others.
"""

from __future__ import annotations

from daemon.observe import Observer
from daemon.telemetry.metrics.registry import TIME_BUCKETS, MetricsRegistry

OPERATIONS = ("claim", "settle", "reject", "checkpoint", "step")
HEARTBEAT, BACKLOG = "heartbeat", "backlog"
SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500)


class DatabaseMetrics(Observer):
    """`operation` names a kind of batch (claim, settle...)."""

    def __init__(self, registry: MetricsRegistry) -> None:
        label = "operation"
        self._sizes = registry.histogram(
            "headcount_batch_items", "Items written by one commit.", SIZE_BUCKETS, label, known=OPERATIONS
        )
        self._commits = registry.histogram(
            "headcount_batch_commit_seconds", "One group commit.", TIME_BUCKETS, label, known=OPERATIONS
        )
        self._splits = registry.counter(
            "headcount_batch_splits_total", "Batches split to find a bad item.", label, known=OPERATIONS
        )
        self._rejected = registry.counter(
            "headcount_batch_items_rejected_total",
            "Items that can't be stored by any means.",
            label,
            known=OPERATIONS,
        )
        self._retries = registry.counter(
            "headcount_batch_retries_total", "Batches repeated: no answer.", label, known=OPERATIONS
        )
        self._unavailable = registry.gauge(
            "headcount_database_unavailable",
            "1 while the database does not answer a batch, the heartbeat or the count of the backlog.",
            label,
            known=(*OPERATIONS, HEARTBEAT, BACKLOG),
        )
        self._unavailable_seconds = registry.counter(
            "headcount_database_unavailable_seconds_total", "Time without the database.", label, known=OPERATIONS
        )
        self._connection_wait = registry.histogram(
            "headcount_connection_wait_seconds", "Waits for a pooled connection.", TIME_BUCKETS
        )

    def batch_committed(self, operation: str, size: int, seconds: float) -> None:
        self._sizes.labels(operation).observe(size)
        self._commits.labels(operation).observe(seconds)

    def batch_split(self, operation: str, size: int) -> None:
        self._splits.labels(operation).inc()

    def item_rejected(self, operation: str, error: BaseException) -> None:
        self._rejected.labels(operation).inc()

    def database_unavailable(self, operation: str, error: BaseException, pause: float) -> None:
        self._retries.labels(operation).inc()
        self._unavailable.labels(operation).set(1)

    def database_available(self, operation: str, seconds: float) -> None:
        self._unavailable.labels(operation).set(0)
        self._unavailable_seconds.labels(operation).inc(seconds)

    def heartbeat_failed(self, error: BaseException) -> None:
        self._unavailable.labels(HEARTBEAT).set(1)  # an idle worker writes nothing else

    def heartbeat(self, seconds: float, late: float) -> None:
        self._unavailable.labels(HEARTBEAT).set(0)

    def background_loop_failed(self, loop: str, error: BaseException, pause: float) -> None:
        """The backlog is counted through the connections of the batches, every few seconds, on idle workers too."""
        if loop == BACKLOG:
            self._unavailable.labels(BACKLOG).set(1)

    def backlog(self, due: int, oldest: float) -> None:
        self._unavailable.labels(BACKLOG).set(0)

    def connection_waited(self, seconds: float) -> None:
        self._connection_wait.observe(seconds)
