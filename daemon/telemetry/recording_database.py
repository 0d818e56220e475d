"""What each report of the worker does to the metrics of the database, as `recording.py` says of the others.

Put together by `metrics.py`. A report may come from the event loop, from the heartbeat's thread or from another one.
"""

from __future__ import annotations

from daemon.observe import Observer
from daemon.telemetry.families import BACKLOG, DATABASE_USERS, HEARTBEAT, LANES, Children, StoreFamilies


class StoreRecorder(Observer):
    """Measures the database from the worker's side."""

    def __init__(self, families: StoreFamilies) -> None:
        self._sizes = Children(families.size, LANES)
        self._commits = Children(families.seconds, LANES)
        self._splits = Children(families.splits, LANES)
        self._refused = Children(families.refused, LANES)
        self._retries = Children(families.retries, LANES)
        self._unavailable = Children(families.unavailable, DATABASE_USERS)
        self._unavailable_seconds = Children(families.unavailable_seconds, LANES)
        self._pool_wait = families.pool_wait

    def batch_committed(self, operation: str, size: int, seconds: float) -> None:
        """Measure a group commit."""
        self._sizes[operation].observe(size)
        self._commits[operation].observe(seconds)

    def batch_split(self, operation: str, size: int) -> None:
        """Count a split."""
        self._splits[operation].inc()

    def item_rejected(self, operation: str, error: BaseException) -> None:
        """Count an item that can't be stored."""
        self._refused[operation].inc()

    def database_unavailable(self, operation: str, error: BaseException, pause: float) -> None:
        """Note that the database is away."""
        self._retries[operation].inc()
        self._unavailable[operation].set(1)

    def database_available(self, operation: str, seconds: float) -> None:
        """Note that it is back, and how long it was away."""
        self._unavailable[operation].set(0)
        self._unavailable_seconds[operation].inc(seconds)

    def heartbeat_failed(self, error: BaseException) -> None:
        """An idle worker writes nothing else."""
        self._unavailable[HEARTBEAT].set(1)

    def heartbeat(self, seconds: float, late: float) -> None:
        """The heartbeat is written again."""
        self._unavailable[HEARTBEAT].set(0)

    def background_loop_failed(self, loop: str, error: BaseException, pause: float) -> None:
        """The backlog is counted through the connections of the batches, every few seconds, on idle workers too."""
        if loop == BACKLOG:
            self._unavailable[BACKLOG].set(1)

    def backlog(self, due: int, oldest: float) -> None:
        """It is counted again."""
        self._unavailable[BACKLOG].set(0)

    def connection_waited(self, seconds: float) -> None:
        """Measure the wait for a connection."""
        self._pool_wait.observe(seconds)
