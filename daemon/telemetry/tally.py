"""Counters and histograms of what happens to every job, at a quarter of the library's cost.

Declared in `families.py` beside the library's own. They are written by one thread only, the event loop's, so they need
no lock; a scrape reads them from another and makes the library's samples of them then.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """Count one more."""
        self.value += 1


class Spread:
    """One series of a histogram, with the newest exemplar of each bucket."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: dict[int, Exemplar] = {}
        self.total = 0.0

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count one amount into its bucket; a bound belongs to the bucket below it."""
        place = bisect_left(self.bounds, amount)
        self.counts[place] += 1
        self.total += amount
        if exemplar is not None:
            self.exemplars[place] = Exemplar(exemplar, amount, time.time())

    def buckets(self) -> list[Bucket]:
        """Bound, how many were not above it, and an exemplar, as the library's families want them."""
        found: list[Bucket] = []
        for place, reached in enumerate(accumulate(list(self.counts))):
            bound = str(float(self.bounds[place])) if place < len(self.bounds) else "+Inf"
            exemplar = self.exemplars.get(place)
            found.append((bound, float(reached)) if exemplar is None else (bound, float(reached), exemplar))
        return found


class CountFamily(Collector):
    """A counter with labels; its name ends with `_total`."""

    def __init__(self, registry: CollectorRegistry, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self._name, self._meaning, self._labels = name.removesuffix("_total"), meaning, labels
        self._series: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """The series with these values, born at 0."""
        return self._series.setdefault(values, Count())

    def collect(self) -> Iterable[CounterMetricFamily]:
        """What a scrape sees."""
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, count in list(self._series.items()):
            family.add_metric(values, count.value)
        return [family]


class SpreadFamily(Collector):
    """A histogram with labels and upper bounds."""

    def __init__(
        self, registry: CollectorRegistry, name: str, meaning: str, bounds: tuple[float, ...], labels: tuple[str, ...]
    ) -> None:
        self._name, self._meaning, self._bounds, self._labels = name, meaning, bounds, labels
        self._series: dict[tuple[str, ...], Spread] = {}
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """The series with these values, born empty."""
        return self._series.setdefault(values, Spread(self._bounds))

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """What a scrape sees."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, spread in list(self._series.items()):
            total = spread.total
            family.add_metric(values, spread.buckets(), total)
        return [family]
