"""The worker's metrics: Observers that count what is reported, in a registry of its own.

Built by the service, which also names the readings taken when scraped; the health port exposes the registry. Each file
declares its series right above the methods that record them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from prometheus_client import GCCollector, ProcessCollector

from daemon.observe import Observers
from daemon.telemetry.metrics.database import DatabaseMetrics
from daemon.telemetry.metrics.jobs import JobMetrics
from daemon.telemetry.metrics.maintenance import MaintenanceMetrics
from daemon.telemetry.metrics.messages import MessageMetrics, PublishMetrics
from daemon.telemetry.metrics.registry import MetricsRegistry
from daemon.telemetry.metrics.worker import WorkerMetrics

Reading = Callable[[], float]


class Metrics(Observers):
    """Counts what the worker does.

    `job_names` are the registered handlers: any other name that a message carries is counted as `other`. `pool` is a
    label of every series, so that several pools in one Prometheus neither hide nor add to each other.
    """

    def __init__(self, job_names: Iterable[str], revision: str = "", pool: str = "default") -> None:
        self.registry = registry = MetricsRegistry(pool)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._worker = WorkerMetrics(registry, revision)
        self._messages = MessageMetrics(registry)
        super().__init__(
            JobMetrics(registry, job_names),
            self._messages,
            PublishMetrics(registry),
            DatabaseMetrics(registry),
            MaintenanceMetrics(registry),
            self._worker,
        )

    def gauges(
        self, *, slots_total: int, slots_used: Reading, outstanding: Reading, buffered: Reading, drain_budget: float
    ) -> None:
        """Name what is read at each scrape, by the scraping thread. A reading that raises shows as NaN.

        `slots_used`: handlers running; `outstanding`: messages leased; `buffered`: those of them without a slot;
        `drain_budget`: seconds that handlers have after SIGTERM.
        """
        self._worker.slots.set(slots_total)
        self._worker.slots_used.set_function(_safe(slots_used))
        self._messages.outstanding.set_function(_safe(outstanding))
        self._messages.buffered.set_function(_safe(buffered))
        self._worker.drain_budget.set(drain_budget)


def _safe(reading: Reading) -> Reading:
    def read() -> float:
        try:
            return float(reading())
        except Exception:  # a scrape must not fail because one reading did
            return math.nan

    return read
