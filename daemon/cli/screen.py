"""The two places a command writes to: what was asked for goes to standard output, words about it to standard error.

Called by every command. Colours, tables and bars appear on a terminal only; `--json` writes one document, or one line
per thing, and nothing else to standard output.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED_WIDTH = 200


@functools.cache
def screen() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


@functools.cache
def margin() -> Console:
    """Standard error: bars, notes and complaints."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str, style: str | None = None) -> None:
    """A line for a person, on standard error, never wrapped and never read as markup."""
    margin().print(text, style=style, markup=False, emoji=False, soft_wrap=True)


def show(text: str, style: str | None = None) -> None:
    """A line of the answer, on standard output."""
    screen().print(text, style=style, markup=False, emoji=False, soft_wrap=True)


def put(value: object) -> None:
    """A value as one line of JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the one style all commands share."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=number == 0)
    return made


def shortened(value: object, limit: int = 80) -> str:
    """A value on one line of at most `limit` characters, with nothing that could move a terminal's cursor."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)
    text = " ".join(text.split()) if isinstance(value, str) else text
    text = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case UUID() | Path():
            return str(value)
        case Mapping():
            return dict(value)
        case Sequence():
            return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
