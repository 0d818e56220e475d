"""The two places a command writes to: what was asked for goes to standard output, words about it to standard error.

Called by every command, and nothing else in `cli/` prints: what is shown may come from anybody, so all of it passes
`letters` here and none of it is read as markup. Colours, tables and bars appear on a terminal only; `--json` writes one
document, or one line per thing, and nothing else to standard output.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.cli.letters import as_json_letters, as_letters, on_one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPED_WIDTH = 200

Cell = str | tuple[str, str]
"""What stands in a cell of a table: a text, or a text and its style."""


@functools.cache
def _screen() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


@functools.cache
def margin() -> Console:
    """Standard error, for the bars of `follow`; lines go there by `say`."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str, style: str | None = None) -> None:
    """A line for a person, on standard error, never wrapped."""
    margin().print(lettered(text, style), soft_wrap=True)


def show(text: str, style: str | None = None) -> None:
    """A line of the answer, on standard output."""
    _screen().print(lettered(text, style), soft_wrap=True)


def put(value: object) -> None:
    """A value as one line of JSON on standard output, with what could act on a terminal escaped."""
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    sys.stdout.write(as_json_letters(text) + "\n")
    sys.stdout.flush()


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], title: str | None = None) -> None:
    """A table of the answer, in the one style all commands share."""
    from rich import box
    from rich.table import Table

    heading = None if title is None else lettered(title)
    made = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(lettered(column), overflow="fold", no_wrap=number == 0)
    for row in rows:
        made.add_row(*(lettered(cell) if isinstance(cell, str) else lettered(*cell) for cell in row))
    _screen().print(made)


def show_panel(title: str, pairs: Iterable[tuple[str, str]], body: object) -> None:
    """A frame around names with their values, and a value as JSON below them."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        grid.add_row(lettered(name, "cyan"), lettered(value))
    indented = json.dumps(body, ensure_ascii=False, indent=2, default=_plain).splitlines()
    lines = [lettered(line) for line in indented]
    _screen().print(Panel(Group(grid, lettered(""), *lines), title=lettered(title), title_align="left", expand=False))


def waiting(text: str) -> AbstractContextManager[object]:
    """A sign of life on standard error for as long as something takes."""
    return margin().status(lettered(text))


def lettered(text: str, style: str | None = None) -> Text:
    """A text as its letters on one line, in a style: the one way into anything that is drawn."""
    from rich.text import Text

    return Text(as_letters(text), style or "")


def shortened(value: object, limit: int = 80) -> str:
    """A value on one line of at most `limit` characters, with nothing that could act on a terminal."""
    if isinstance(value, str):
        text = on_one_line(value)
    else:
        text = as_json_letters(json.dumps(value, ensure_ascii=False, default=_plain))
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
