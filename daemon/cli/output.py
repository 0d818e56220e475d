"""What a command prints and how it ends: answers on standard output, messages on standard error, exit codes.

Called by every command and by `daemon.__main__`; nothing else in `cli/` prints. Tags, job names, hosts, errors and
messages are whatever a producer or a handler made them, so every text is escaped here and none is read as markup.
Colours, tables and bars appear on a terminal only; `--json` writes one document, or one line per row, and nothing else
to standard output.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.errors import HeadcountError, OrchestrationNotFound, StartupError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPED_WIDTH = 200

# Control characters (C0, DEL, C1), line and paragraph separators, halves of surrogate pairs, and invisible marks that
# change the order in which text is read. The two joiners stay: words of several languages, and emoji, need them.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

Cell = str | tuple[str, str]
"""A cell of a table: a text, or a text and its style."""


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    REFUSED = 2
    NOT_FOUND = 3
    INTERRUPTED = 130


HELP = (
    "Exit codes: 0 fine; 1 what was asked about has failed (Errored instances); 2 could not start: a wrong option or "
    "setting, something missing; 3 not found; 130 interrupted."
)


def echo(text: str, style: str | None = None) -> None:
    """A line of the answer, on standard output."""
    _out_console().print(escaped_text(text, style), soft_wrap=True)


def echo_err(text: str, style: str | None = None) -> None:
    """A line for a person, on standard error, never wrapped."""
    err_console().print(escaped_text(text, style), soft_wrap=True)


def echo_json(value: object) -> None:
    """A value as one line of JSON on standard output, with what could act on a terminal escaped."""
    sys.stdout.write(_json(value) + "\n")
    sys.stdout.flush()


def echo_error(error: HeadcountError) -> Exit:
    """Print an error and the command that fixes it, on standard error; the exit code that fits.

    Never a traceback: what is not a HeadcountError is a bug, and Python shows that itself.
    """
    problem, fix = (error.problem, error.fix) if isinstance(error, StartupError) else (str(error), None)
    for line in problem.splitlines() or [""]:  # the end of a log, a traceback: their lines stay lines
        echo_err(line, style="bold red")
    if fix:
        echo_err(f"  {fix}", style="bold green")
    return Exit.NOT_FOUND if isinstance(error, OrchestrationNotFound) else Exit.REFUSED


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], title: str | None = None) -> None:
    """A table of the answer, in the one style all commands share."""
    from rich import box
    from rich.table import Table

    heading = None if title is None else escaped_text(title)
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(escaped_text(column), overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(escaped_text(cell) if isinstance(cell, str) else escaped_text(*cell) for cell in row))
    _out_console().print(table)


def show_panel(title: str, pairs: Iterable[tuple[str, str]], body: object) -> None:
    """A frame around names with their values, and a value as JSON below them."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        grid.add_row(escaped_text(name, "cyan"), escaped_text(value))
    indented = json.dumps(body, ensure_ascii=False, indent=2, default=_plain).splitlines()
    lines = [escaped_text(line) for line in indented]
    group = Group(grid, escaped_text(""), *lines)
    _out_console().print(Panel(group, title=escaped_text(title), title_align="left", expand=False))


def spinner(text: str) -> AbstractContextManager[object]:
    """Show on standard error that something is still going on."""
    return err_console().status(escaped_text(text))


@functools.cache
def err_console() -> Console:
    """Standard error, for the bars of `follow`; lines go there by `echo_err`."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@functools.cache
def _out_console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def escaped_text(text: str, style: str | None = None) -> Text:
    """An escaped text on one line, in a style: the only way into anything that Rich draws."""
    from rich.text import Text

    return Text(escape(text), style or "")


def shorten(value: object, limit: int = 80) -> str:
    """A value on one line of at most `limit` characters, escaped, with every run of white space as one space."""
    text = escape(" ".join(value.split())) if isinstance(value, str) else _json(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escape(text: str) -> str:
    """The text on one line: each character that a terminal could act on as `\\x1b`, `\\u202e`, `\\n`."""
    return _UNSAFE.sub(_escape_character, text)


def escape_json(text: str) -> str:
    """JSON text in which those characters are escaped as JSON escapes them: it means the same, and acts on nothing."""
    return _UNSAFE.sub(lambda found: _utf16(ord(found[0])), text)


def _json(value: object) -> str:
    return escape_json(json.dumps(value, ensure_ascii=False, default=_plain))


def _escape_character(found: re.Match[str]) -> str:
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _utf16(number: int) -> str:
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


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
