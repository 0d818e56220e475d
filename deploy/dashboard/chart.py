"""One panel as SVG: lines over time with axes and a legend, or one number with its course behind it.

Used by draw.py. Standard library only; it knows nothing of Prometheus.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#2f6fde", "#e8590c", "#2b8a3e", "#9c36b5", "#d6336c", "#0c8599", "#b08900", "#6741d9", "#c92a2a", "#74b816")
LEFT, RIGHT, TOP, LEGEND_LINE, CHARACTER = 58, 12, 30, 15, 5.9
MIB = 2.0**20
GREY, FAINT, INK = "#868e96", "#edf0f2", "#212529"


@dataclass(frozen=True)
class Line:
    """One series: its legend and its points (unix time, value); NaN and infinity are gaps."""

    legend: str
    points: Sequence[tuple[float, float]]

    @property
    def finite(self) -> list[tuple[float, float]]:
        """The points that have a value."""
        return [point for point in self.points if math.isfinite(point[1])]

    @property
    def highest(self) -> float:
        """The largest value."""
        return max(value for _, value in self.finite)

    @property
    def last(self) -> float:
        """The newest value."""
        return self.finite[-1][1]


@dataclass(frozen=True)
class Frame:
    """How large a panel is, in pixels, and which time it shows."""

    width: int
    height: int
    start: float
    end: float


def chart(title: str, unit: str, lines: Sequence[Line], frame: Frame) -> str:
    """The panel of a graph."""
    drawn = sorted((line for line in lines if line.finite), key=lambda line: -line.highest)
    legend, legend_height = legend_of(drawn, unit, frame)
    bottom = frame.height - 24 - legend_height
    top_value, ticks = scale(max((line.highest for line in drawn), default=0.0), unit)

    def x(moment: float) -> float:
        return LEFT + (moment - frame.start) / (frame.end - frame.start) * (frame.width - LEFT - RIGHT)

    def y(value: float) -> float:
        return bottom - max(value, 0.0) / top_value * (bottom - TOP)

    parts = [text(12, 18, title, INK, weight=600)]
    for tick in ticks:
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{frame.width - RIGHT}" stroke="{FAINT}"/>')
        parts.append(text(LEFT - 6, y(tick) + 3.5, shown(tick, unit), GREY, anchor="end"))
    steps = 4 if frame.width > 400 else 2
    for part in range(steps + 1):
        moment = frame.start + (frame.end - frame.start) * part / steps
        clock = time.strftime("%H:%M:%S", time.localtime(moment))
        anchor = {0: "start", steps: "end"}.get(part, "middle")
        parts.append(text(x(moment), bottom + 14, clock, GREY, anchor=anchor))
    for number, line in enumerate(drawn):
        parts.append(course(line, x, y, COLOURS[number % len(COLOURS)]))
    if not drawn:
        parts.append(text(frame.width / 2, (TOP + bottom) / 2, "no data", GREY, anchor="middle"))
    return framed(frame, [*parts, legend])


def number(title: str, unit: str, lines: Sequence[Line], frame: Frame) -> str:
    """The panel of a single number: the newest value, large, and its course below."""
    drawn = [line for line in lines if line.finite][:1]
    parts = [text(12, 18, title, INK, weight=600)]
    if not drawn:
        return framed(frame, [*parts, text(12, 60, "no data", GREY)])
    line = drawn[0]
    highest = line.highest or 1.0
    low, high = frame.height - 6, frame.height * 0.62

    def x(moment: float) -> float:
        return 6 + (moment - frame.start) / (frame.end - frame.start) * (frame.width - 12)

    parts.append(course(line, x, lambda value: low - value / highest * (low - high), COLOURS[0]))
    parts.append(text(12, 58, shown(line.last, unit), INK, size=30, weight=600))
    return framed(frame, parts)


def legend_of(lines: Sequence[Line], unit: str, frame: Frame) -> tuple[str, int]:
    """The names below a graph in as few lines as they need, and how high they are; what does not fit is counted."""
    room, most = frame.width - 24, 3
    rows: list[list[tuple[str, str]]] = [[]]
    for place, line in enumerate(lines):
        entry = f"{line.legend} {shown(line.last, unit)}"
        if sum(width_of(one) for one, _ in rows[-1]) + width_of(entry) > room:
            if len(rows) == most:
                rows[-1][-1] = (f"and {len(lines) - place + 1} more", GREY)
                break
            rows.append([])
        rows[-1].append((entry, COLOURS[place % len(COLOURS)]))
    parts = []
    for row, entries in enumerate(rows):
        left = 14.0
        for entry, colour in entries:
            height = frame.height - 8 - (len(rows) - 1 - row) * LEGEND_LINE
            parts.append(f'<rect x="{left}" y="{height - 6}" width="9" height="4" rx="2" fill="{colour}"/>')
            parts.append(text(left + 13, height, entry, "#495057"))
            left += width_of(entry)
    return "".join(parts), len(rows) * LEGEND_LINE


def course(line: Line, x: Callable[[float], float], y: Callable[[float], float], colour: str) -> str:
    """The line itself; a gap in its values is a gap in it, and a value between two gaps is a dot."""
    pieces: list[list[str]] = [[]]
    for moment, value in line.points:
        if math.isfinite(value):
            pieces[-1].append(f"{x(moment):.1f} {y(value):.1f}")
        elif pieces[-1]:
            pieces.append([])
    path = "".join(f"M{'L'.join(piece if len(piece) > 1 else piece * 2)}" for piece in pieces if piece)
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" '
        'stroke-linejoin="round" stroke-linecap="round"/>'
    )


def scale(highest: float, unit: str) -> tuple[float, list[float]]:
    """Where the axis ends, and its steps, round in the unit that is shown."""
    if highest <= 0:
        return 1.0, [0.0, 1.0]
    shown_as = MIB if unit == "bytes" else 1.0
    power = 10 ** math.floor(math.log10(highest / shown_as / 3)) * shown_as
    step = next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) <= 4)
    count = math.ceil(highest / step - 1e-9)
    return step * count, [step * place for place in range(count + 1)]


def shown(value: float, unit: str) -> str:
    """A value with its unit, in at most five characters."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / MIB:.3g} MiB"
    if unit == "s":
        return shown_seconds(value)
    suffix = "/s" if unit == "ops" else ""
    return (f"{value / 1000:.3g}k" if value >= 10_000 else f"{value:.3g}") + suffix


def shown_seconds(value: float) -> str:
    """A length of time in the unit that fits."""
    for seconds, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if value >= 2 * seconds:
            return f"{value / seconds:.3g} {name}"
    if value >= 1 or value <= 0:
        return f"{value:.3g} s"
    return f"{value * 1000:.3g} ms"


def width_of(entry: str) -> float:
    """About how wide a legend's entry is."""
    return 26 + len(entry) * CHARACTER


def text(x: float, y: float, words: str, colour: str, *, size: int = 11, weight: int = 400, anchor: str = "") -> str:
    """Words in the picture."""
    where = f' text-anchor="{anchor}"' if anchor else ""
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}{where}>{escape(words)}</text>'


def framed(frame: Frame, parts: Sequence[str]) -> str:
    """The whole SVG."""
    width, height = frame.width, frame.height
    border = f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="4" fill="#fff" stroke="#dee2e6"/>'
    return f'<svg width="{width}" height="{height}">{border}{"".join(parts)}</svg>'
