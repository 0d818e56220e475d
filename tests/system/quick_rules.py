"""The alert rules with quicker time: how long they wait and how far they look back, divided; nothing else is touched.

Used by the tests that put real faults before the project's own rules. Thresholds, labels and expressions stay as they
are: what is old by them is made old by dating its row back.
"""

import re
from pathlib import Path

from tests.system.prometheus import RULES

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
DURATION = re.compile(r"(?P<before>^ +for: |\[|\boffset )(?P<count>\d+)(?P<unit>ms|s|m|h)(?=\]|$|\)|\s)", re.M)


def quickened(rules: str, factor: int) -> str:
    """The same rules, every `for:`, `[range]` and `offset` a `factor`-th as long."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found['before']}{milliseconds(found) // factor}ms"

    return DURATION.sub(shorter, rules)


def milliseconds(found: re.Match[str]) -> int:
    """How long a duration is."""
    return int(found["count"]) * UNITS[found["unit"]]


def quick_rules(folder: Path, factor: int) -> Path:
    """The project's rules with quicker time, in a file of their own."""
    path = folder / f"quick-{RULES.name}"
    path.write_text(quickened(RULES.read_text(), factor))
    return path
