"""Draws the dashboard without Grafana: every panel of headcount.json, asked of a Prometheus, as one HTML page.

Run by hand where there is no Grafana, `python deploy/dashboard/draw.py http://localhost:9090 > page.html`, and by the
test that shows that every panel has data. Standard library only; the page needs nothing but itself.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chart import Frame, Line, chart, number

FILE = Path(__file__).parent / "headcount.json"
COLUMN, ROW, GAP, MARGIN, HEAD = 58, 30, 8, 16, 48
POINTS = 240


@dataclass(frozen=True)
class Window:
    """Which time to show, in unix seconds, and the range that rates look back over."""

    start: float
    end: float
    rate: str

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return max((self.end - self.start) / POINTS, 0.5)


@dataclass(frozen=True)
class Box:
    """Where a panel is on the page, in pixels."""

    left: int
    top: int
    width: int
    height: int


def panels() -> list[dict[str, Any]]:
    """The panels and the titles of their rows, as Grafana imports them."""
    return list(json.loads(FILE.read_text(encoding="utf-8"))["panels"])


def box_of(panel: dict[str, Any]) -> Box:
    """A panel's place."""
    where = panel["gridPos"]
    left, top = MARGIN + where["x"] * COLUMN, HEAD + where["y"] * ROW
    return Box(left, top, where["w"] * COLUMN - GAP, where["h"] * ROW - GAP)


def graphs() -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in panels() if panel["type"] != "row"]


def answers(server: str, window: Window) -> dict[int, list[Line]]:
    """What Prometheus answers to every panel, by the panel's id."""
    return {panel["id"]: lines_of(server, panel, window) for panel in graphs()}


def lines_of(server: str, panel: dict[str, Any], window: Window) -> list[Line]:
    """What Prometheus answers to a panel's queries."""
    return [line for target in panel["targets"] for line in answered(server, target, window)]


def answered(server: str, target: dict[str, str], window: Window) -> list[Line]:
    """The series of one query, named by its legend."""
    query = target["expr"].replace("$__rate_interval", window.rate).replace("$job_name", ".*").replace("$pool", ".*")
    asked = {"query": query, "start": window.start, "end": window.end, "step": window.step}
    with urllib.request.urlopen(f"{server}/api/v1/query_range?{urllib.parse.urlencode(asked)}", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return [
        Line(legend_of(target["legendFormat"], one["metric"]), with_gaps(one["values"], window.step)) for one in found
    ]


def with_gaps(values: list[tuple[float, str]], step: float) -> list[tuple[float, float]]:
    """The points of a series; where some are missing, one without a value says so."""
    points: list[tuple[float, float]] = []
    for moment, value in values:
        if points and moment - points[-1][0] > 1.5 * step:
            points.append((moment - step, float("nan")))
        points.append((moment, float(value)))
    return points


def legend_of(pattern: str, labels: dict[str, str]) -> str:
    """Grafana's legend: {{label}} stands for a label's value."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), pattern).strip()


def page(lines: dict[int, list[Line]], window: Window) -> str:
    """The page. `lines`: those of each panel, by its id."""
    parts = [f'<h1 style="left:{MARGIN}px;top:10px">Headcount</h1>']
    for panel in panels():
        box = box_of(panel)
        at = f"left:{box.left}px;top:{box.top}px"
        if panel["type"] == "row":
            parts.append(f'<h2 style="{at}">{panel["title"]}</h2>')
            continue
        draw = number if panel["type"] == "stat" else chart
        unit = panel["fieldConfig"]["defaults"]["unit"]
        svg = draw(panel["title"], unit, lines[panel["id"]], Frame(box.width, box.height, window.start, window.end))
        parts.append(f'<div style="{at}">{svg}</div>')
    width, height = size()
    style = (
        f"body{{margin:0;background:#f4f6f8;width:{width}px;height:{height}px;position:relative;"
        "font-family:Inter,'DejaVu Sans',Arial,sans-serif}"
        "div,h1,h2{position:absolute;margin:0}h1{font-size:20px;color:#212529}"
        "h2{font-size:13px;line-height:22px;color:#495057}svg{display:block}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Headcount</title><style>{style}</style>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def size() -> tuple[int, int]:
    """How wide and high the page is, in pixels."""
    boxes = [box_of(panel) for panel in panels()]
    return 2 * MARGIN + 24 * COLUMN - GAP, max(box.top + box.height for box in boxes) + MARGIN


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description="Draw the dashboard of the last hour as one HTML page.")
    parser.add_argument("server", help="a Prometheus, as http://localhost:9090")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", default="2m", help="what rates look back over: at least four scrapes (default 2m)")
    options = parser.parse_args()
    end = time.time()
    window = Window(end - options.minutes * 60, end, options.rate)
    sys.stdout.write(page(answers(options.server.rstrip("/"), window), window))


if __name__ == "__main__":
    main()
