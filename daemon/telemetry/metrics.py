"""The worker's metrics: an Observer that counts what it hears, in a registry of its own.

Built by the service, which also names the readings taken when scraped; the health port exposes the registry. Declared
in `families.py`, recorded in `recording.py`; nothing else of Headcount may know a metric.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version

import prometheus_client
from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector

from daemon.observe import Observers
from daemon.telemetry.families import (
    POOL,
    CareFamilies,
    Catalogue,
    JobFamilies,
    MessageFamilies,
    StoreFamilies,
    WorkerFamilies,
)
from daemon.telemetry.recording import (
    CareRecorder,
    JobRecorder,
    MessageRecorder,
    WorkerRecorder,
)
from daemon.telemetry.recording_database import StoreRecorder

Reading = Callable[[], float]

_disable_created: Callable[[], None] = prometheus_client.disable_created_metrics


class PoolRegistry(CollectorRegistry):
    """A registry that adds the worker's pool to the labels of every sample, when it is scraped."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        """What a scrape sees. The library makes its families anew each time, so that these may be changed."""
        for family in super().collect():
            family.samples = [one._replace(labels={**one.labels, POOL: self._pool}) for one in family.samples]
            yield family


class Metrics(Observers):
    """Counts what the worker does.

    `job_names` are the registered handlers: any other name that a message carries is counted as `other`. `catalogue`
    says which series exist, with their labels. `pool` is a label of every series, so that several pools in one
    Prometheus neither hide nor add to each other.
    """

    def __init__(self, job_names: Iterable[str], revision: str = "", pool: str = "default") -> None:
        _disable_created()  # a `_created` series beside each counter doubles the bill and nobody reads it
        self.registry = PoolRegistry(pool)
        self.catalogue = catalogue = Catalogue(self.registry)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._worker = WorkerFamilies(catalogue)
        self._messages = MessageFamilies(catalogue)
        super().__init__(
            JobRecorder(JobFamilies(catalogue), job_names),
            MessageRecorder(self._messages),
            StoreRecorder(StoreFamilies(catalogue)),
            CareRecorder(CareFamilies(catalogue)),
            WorkerRecorder(self._worker),
        )
        pubsub = _version("google-cloud-pubsub")
        self._worker.facts.labels(_version("headcount"), revision, platform.python_version(), pubsub).set(1)

    def gauges(
        self, *, slots_total: int, slots_used: Reading, outstanding: Reading, held: Reading, drain_budget: float
    ) -> None:
        """Name what is read at each scrape, by the scraping thread. A reading that raises shows as NaN.

        `slots_used`: handlers running; `outstanding`: messages leased; `held`: those of them without a slot;
        `drain_budget`: seconds that handlers have after SIGTERM.
        """
        self._worker.slots.set(slots_total)
        self._worker.slots_used.set_function(_safe(slots_used))
        self._messages.outstanding.set_function(_safe(outstanding))
        self._messages.held.set_function(_safe(held))
        self._worker.drain_budget.set(drain_budget)


def _safe(reading: Reading) -> Reading:
    def read() -> float:
        try:
            return float(reading())
        except Exception:  # a scrape must not fail because one reading did
            return math.nan

    return read


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
