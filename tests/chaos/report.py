"""What a scenario found: figures with their limits, as a table for people and as JSON for programs.

Filled by the scenarios and their checks, shown by `python -m tests.chaos`, asserted by the system tests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

GENEROSITY = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: `limit` says in words what it must be, `kept` whether it is; `seconds` is a time's limit."""

    name: str
    value: float | str
    limit: str = ""
    kept: bool = True
    seconds: float | None = None


@dataclass(slots=True)
class Report:
    """All figures of one scenario."""

    scenario: str
    figures: list[Figure] = field(default_factory=list)

    def note(self, name: str, value: float | str) -> None:
        """A figure without a limit."""
        self.figures.append(Figure(name, _rounded(value)))

    def at_most(self, name: str, value: float, limit: float) -> None:
        """A figure that must not exceed its limit."""
        self.figures.append(Figure(name, _rounded(value), f"<= {limit:g}", value <= limit))

    def within(self, name: str, value: float, seconds: float) -> None:
        """A time that must not exceed its limit: exact here, and generously by `broken_or_hung`."""
        self.figures.append(Figure(f"{name}, s", _rounded(value), f"<= {seconds:g}", value <= seconds, seconds))

    def is_exactly(self, name: str, value: float | str, wanted: float | str) -> None:
        """A figure that must be this one."""
        self.figures.append(Figure(name, _rounded(value), f"= {wanted}", value == wanted))

    def none_of(self, name: str, found: Iterable[object]) -> None:
        """There must be none; the first few are shown."""
        listed = [str(one) for one in found]
        shown = str(len(listed)) + (f": {'; '.join(listed[:5])}" if listed else "")
        self.figures.append(Figure(name, shown, "= 0", not listed))

    def value(self, name: str) -> float:
        """The number that a figure of this name has."""
        return next(float(one.value) for one in self.figures if one.name == name)

    @property
    def broken(self) -> list[str]:
        """The figures that are out of their limits, in words."""
        return [self._words(one) for one in self.figures if not one.kept]

    @property
    def broken_or_hung(self) -> list[str]:
        """The same with times only bounded, for machines that do other things as well."""
        return [
            self._words(one)
            for one in self.figures
            if not one.kept and (one.seconds is None or float(one.value) > one.seconds * GENEROSITY)
        ]

    def _words(self, one: Figure) -> str:
        return f"{self.scenario}: {one.name} is {one.value}, must be {one.limit}"


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; infinite when there are none."""
    if not values:
        return math.inf
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if share > 0 else ordered[0]


def as_json(reports: Sequence[Report]) -> str:
    """One JSON document."""
    return json.dumps([asdict(report) | {"broken": report.broken} for report in reports], indent=2)


def show(report: Report, console: Console) -> None:
    """One table."""
    table = Table(title=report.scenario, title_justify="left", title_style="bold")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    for one in report.figures:
        mark = "" if not one.limit else "[green]kept[/]" if one.kept else "[red]BROKEN[/]"
        table.add_row(one.name, str(one.value), one.limit, mark)
    console.print(table)


def _rounded(value: float | str) -> float | str:
    return round(value, 3) if isinstance(value, float) else value
