"""The place in an orchestration's stream that a client has reached, as the text that frames carry as their id.

Pure. Called by the API's streams; a text that was made by another release, or by nobody, is no cursor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = re.compile(r"([0-9a-f]{1,32})\.(\d{1,9})\.(\d{1,10})(\.final)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Every transition of `generation` up to `finish_number` is known; `final`: and that it is complete."""

    epoch: str
    generation: int
    finish_number: int
    final: bool = False

    def __str__(self) -> str:
        return f"{self.epoch}.{self.generation}.{self.finish_number}{'.final' if self.final else ''}"


def parse_cursor(text: str) -> Cursor | None:
    """The cursor that a text stands for; None when it is none."""
    found = _TEXT.fullmatch(text)
    return None if found is None else Cursor(found[1], int(found[2]), int(found[3]), found[4] is not None)
