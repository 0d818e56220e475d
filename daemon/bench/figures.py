"""What a measurement found: figures with their bars, and the median of several runs.

Made by the scenarios, shown by the command line. A bar belongs to section "speed" of the project's promises; a figure
without one is there to be read beside the others.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Bar:
    """What is promised: at least, or at most."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value keeps the promise."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `spread` is the lowest and the highest of several runs."""

    scenario: str
    name: str
    value: float
    unit: str = ""
    bar: Bar | None = None
    spread: tuple[float, float] | None = None

    @property
    def passed(self) -> bool | None:
        """None without a bar."""
        return None if self.bar is None else self.bar.holds(self.value)

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "scenario": self.scenario,
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": None if self.bar is None else str(self.bar),
            "passed": self.passed,
            "spread": self.spread,
        }


@dataclass
class Report:
    """The figures of one scenario, in the order in which they were written down."""

    scenario: str
    figures: list[Figure] = field(default_factory=list)

    def put(
        self, name: str, value: float, unit: str = "", *, least: float | None = None, most: float | None = None
    ) -> None:
        """Write one down, with the bar it has to keep."""
        bar = Bar(least, most) if least is not None or most is not None else None
        self.figures.append(Figure(self.scenario, name, value, unit, bar))


def medians(runs: Iterable[Iterable[Figure]]) -> list[Figure]:
    """One figure per name: the median of all runs, and how far they were apart."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for run in runs:
        for figure in run:
            found.setdefault((figure.scenario, figure.name), []).append(figure)
    return [_median(same) for same in found.values()]


def _median(same: list[Figure]) -> Figure:
    values = [figure.value for figure in same]
    spread = (min(values), max(values)) if len(values) > 1 else None
    return replace(same[0], value=statistics.median(values), spread=spread)


def mean(pair: Iterable[Mapping[str, float]], name: str) -> float:
    """A baseline's figure, from before and after."""
    return statistics.fmean(one[name] for one in pair)


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
