"""What PromQL asks for: the series it names with the labels it picks, and the labels it groups by.

Used by the tests of alerts and of the dashboard, to hold both against what the code exposes.
"""

import re

from daemon.telemetry.metrics import Metrics

TARGET_LABELS = {"instance", "job", "le"}
FOREIGN = re.compile(r"(process|python)_[a-z_]+")
_SELECTOR = re.compile(r"\b((?:headcount|process|python)[:_][a-z_:0-9]+)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def complaints(query: str, recorded: dict[str, set[str]]) -> list[str]:
    """What a query asks for that does not exist. `recorded`: the labels of series made by recording rules."""
    known: dict[str, set[str]] = {name: set(labels) for name, labels in Metrics(["thumbnail"]).registry.series.items()}
    known |= recorded
    found: list[str] = []
    offered: set[str] = set(TARGET_LABELS)
    for name, matchers in _SELECTOR.findall(query):
        if name not in known and not FOREIGN.fullmatch(name):
            found.append(f"no series is named {name}")
        offered |= known.get(name, set())
        picked = set(_MATCHER.findall(matchers))
        found += [f"{name} has no label {label}" for label in picked - known.get(name, set()) - TARGET_LABELS]
    for group in _GROUPING.findall(query):
        labels = {label.strip() for label in group.split(",") if label.strip()}
        found += [f"nothing here has the label {label}" for label in labels - offered]
    if not _SELECTOR.search(query):
        found.append("it names no series")
    return found
