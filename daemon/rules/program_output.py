"""What a program says on its standard output: the lines that are meant for Headcount, and all others.

Used by the command executor. The format is in docs/commands.md; a line that does not follow it is log output, never an
error, because programs may print what they like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from daemon.job import Progress

LINE_LIMIT = 8 * 1024
RESULT_MARK = b"::result"
SPACE = 8
_MARKED = re.compile(rb"::(progress|note|result)[ \t]+(.*)", re.S)
_PROGRESS = re.compile(r"(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?)|(%))?(?:\s+(.*))?", re.S)


@dataclass(frozen=True, slots=True)
class Note:
    """`::note TEXT`: a line for the end user."""

    text: str


@dataclass(frozen=True, slots=True)
class ResultLine:
    """`::result JSON`: the job's result; the last one counts."""

    json: bytes


@dataclass(frozen=True, slots=True)
class LogLine:
    """Any other line."""

    text: str


def parse(line: bytes) -> Progress | Note | ResultLine | LogLine:
    """What one line of standard output says; `line` has no newline at its end."""
    marked = _MARKED.fullmatch(line) if line.startswith(b"::") else None
    if marked is None:
        return LogLine(text_of(line))
    mark, rest = marked.groups()
    if mark == b"result":
        return ResultLine(rest)
    return Note(text_of(rest)) if mark == b"note" else _progress(text_of(rest).strip())


def text_of(line: bytes) -> str:
    """A line as a terminal shows it: what follows the last carriage return. Whatever is not UTF-8 is replaced."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")


def _progress(text: str) -> Progress:
    """`3/6 MESSAGE`, `40% MESSAGE`, `3 MESSAGE`, or a message alone."""
    numbers = _PROGRESS.fullmatch(text)
    if numbers is None:
        return Progress(None, None, text or None)
    current, total, percent, message = numbers.groups()
    return Progress(float(current), 100.0 if percent else float(total) if total else None, message or None)


class LineSplitter:
    """Cuts a stream of bytes into lines. Of each, LINE_LIMIT bytes are kept, of a result over `result_limit`.

    So a program can't fill the worker's memory with a line that has no end.
    """

    def __init__(self, result_limit: int = 0) -> None:
        self._result_limit = len(RESULT_MARK) + SPACE + result_limit
        self._line = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk ends."""
        first, *others = chunk.split(b"\n")
        self._keep(first)
        if not others:
            return []
        lines = [bytes(self._line)]
        lines += (other[: self._limit(other)] for other in others[:-1])
        self._line.clear()
        self._keep(others[-1])
        return lines

    def end(self) -> list[bytes]:
        """What came after the last newline, as a line, if anything did."""
        rest = [bytes(self._line)] if self._line else []
        self._line.clear()
        return rest

    def _keep(self, part: bytes) -> None:
        start = bytes(self._line[: len(RESULT_MARK)]) + part[: len(RESULT_MARK)]  # a mark may come in two pieces
        room = max(0, self._limit(start) - len(self._line))
        self._line += part[:room]

    def _limit(self, start: bytes) -> int:
        return max(LINE_LIMIT, self._result_limit) if start.startswith(RESULT_MARK) else LINE_LIMIT
