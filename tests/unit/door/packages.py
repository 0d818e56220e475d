"""Packages of handlers written for one test.

Used by the tests of discovery. Each has a name of its own, because Python remembers what it has imported.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from textwrap import dedent

NUMBERS = count()
IMPORTS = "from daemon import JobContext, job\n"


def a_package(folder: Path, **modules: str) -> str:
    """Write modules into a new package and say its name; `__init__` is empty unless given."""
    name = f"handlers_of_a_test_{next(NUMBERS)}"
    (folder / name).mkdir()
    for module, source in {"__init__": "", **modules}.items():
        (folder / name / f"{module}.py").write_text(dedent(source))
    return name
