"""Where the metrics of one worker are declared: a registry that knows every series with its labels.

The Observers beside this file declare in it what they record. Names begin with `headcount_`, units are base units, and
no label can take more values than are known or capped. The dashboard and the alerts are checked against `series`.
"""

from __future__ import annotations

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric

from daemon.telemetry.metrics.fast import FastCounter, FastHistogram

OTHER = "other"
POOL = "pool"
LABEL_LIMIT = 32
TIME_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class MetricsRegistry(CollectorRegistry):
    """A registry that adds the worker's pool to the labels of every sample, when it is scraped.

    `known` are values of a metric's one label that exist from the start: a series that begins at 1 hides its first
    event from `increase()`.
    """

    def __init__(self, pool: str) -> None:
        super().__init__()
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the bill for nobody
        self._pool = pool
        self.series: dict[str, frozenset[str]] = {}

    def collect(self) -> Iterable[Metric]:
        """What a scrape sees. The library makes its families anew each time, so that these may be changed."""
        for family in super().collect():
            family.samples = [sample._replace(labels={**sample.labels, POOL: self._pool}) for sample in family.samples]
            yield family

    def counter(self, name: str, meaning: str, *labels: str, known: Iterable[str] = ()) -> Counter:
        """A counter; its name ends with `_total`."""
        counter = Counter(name, meaning, labels, registry=self)
        self.series[name] = frozenset([*labels, POOL])
        for value in known:
            counter.labels(value)
        return counter

    def gauge(self, name: str, meaning: str, *labels: str, known: Iterable[str] = ()) -> Gauge:
        gauge = Gauge(name, meaning, labels, registry=self)
        self.series[name] = frozenset([*labels, POOL])
        for value in known:
            gauge.labels(value)
        return gauge

    def histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str, known: Iterable[str] = ()
    ) -> Histogram:
        """A histogram with these upper bounds, in the unit that the name ends with."""
        histogram = Histogram(name, meaning, labels, buckets=buckets, registry=self)
        self._know_histogram(name, labels)
        for value in known:
            histogram.labels(value)
        return histogram

    def fast_counter(self, name: str, meaning: str, *labels: str) -> FastCounter:
        """A counter of what happens to every job or message, counted by the event loop's thread alone."""
        self.series[name] = frozenset([*labels, POOL])
        return FastCounter(self, name, meaning, labels)

    def fast_histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> FastHistogram:
        """A histogram of the same kind."""
        self._know_histogram(name, labels)
        return FastHistogram(self, name, meaning, buckets, labels)

    def _know_histogram(self, name: str, labels: tuple[str, ...]) -> None:
        self.series[f"{name}_bucket"] = frozenset([*labels, POOL, "le"])
        self.series[f"{name}_sum"] = self.series[f"{name}_count"] = frozenset([*labels, POOL])


class BoundedCounter:
    """A counter by one label whose values come from outside; beyond LABEL_LIMIT of them, new ones count as `other`."""

    def __init__(self, counter: Counter, known: Iterable[str] = ()) -> None:
        self._counter = counter
        self._values = set(known)
        self._limit = max(LABEL_LIMIT, len(self._values))

    def inc(self, value: str) -> None:
        if value not in self._values and len(self._values) >= self._limit:
            value = OTHER
        else:
            self._values.add(value)
        self._counter.labels(value).inc()
