"""Counters and histograms of what happens to every job, at a quarter of the library's cost.

They are written by one thread only, the event loop's, so they need no lock; a scrape reads them from another thread and
makes the library's samples of them then.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class CounterSeries:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1


class HistogramSeries:
    """One series of a histogram, with the newest exemplar of each bucket."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: dict[int, Exemplar] = {}
        self.total = 0.0

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count one amount into its bucket; a bound belongs to the bucket below it."""
        bucket = bisect_left(self.bounds, amount)
        self.counts[bucket] += 1
        self.total += amount
        if exemplar is not None:
            self.exemplars[bucket] = Exemplar(exemplar, amount, time.time())

    def buckets(self) -> list[Bucket]:
        """Bound, how many were not above it, and an exemplar, as the library's families want them."""
        bounds = [*map(str, map(float, self.bounds)), "+Inf"]
        reached = map(float, accumulate(list(self.counts)))
        exemplars = map(self.exemplars.get, range(len(bounds)))
        found = zip(bounds, reached, exemplars, strict=True)
        return [(b, count) if exemplar is None else (b, count, exemplar) for b, count, exemplar in found]


class FastCounter(Collector):
    """A counter with labels; its name ends with `_total`."""

    def __init__(self, registry: CollectorRegistry, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self._name, self._meaning, self._labels = name.removesuffix("_total"), meaning, labels
        self._series: dict[tuple[str, ...], CounterSeries] = {}
        registry.register(self)

    def labels(self, *values: str) -> CounterSeries:
        """The series with these values; a new one is 0."""
        return self._series.setdefault(values, CounterSeries())

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, series in list(self._series.items()):
            family.add_metric(values, series.value)
        return [family]


class FastHistogram(Collector):
    """A histogram with labels and upper bounds."""

    def __init__(
        self, registry: CollectorRegistry, name: str, meaning: str, bounds: tuple[float, ...], labels: tuple[str, ...]
    ) -> None:
        self._name, self._meaning, self._bounds, self._labels = name, meaning, bounds, labels
        self._series: dict[tuple[str, ...], HistogramSeries] = {}
        registry.register(self)

    def labels(self, *values: str) -> HistogramSeries:
        """The series with these values; a new one is empty."""
        return self._series.setdefault(values, HistogramSeries(self._bounds))

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, series in list(self._series.items()):
            total = series.total
            family.add_metric(values, series.buckets(), total)
        return [family]
