"""What a program's lines do: its progress, notes and result, its log, and the end of its standard error.

Used by the command executor, for one attempt. It must not decide what the end of the program means.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable

from daemon.context import JobContext
from daemon.engine.executors.program import STDERR
from daemon.engine.executors.results import returned
from daemon.job import Failed, JobError, Kind, Progress, Result
from daemon.rules.program_output import Note, ResultLine, parse, text_of
from daemon.rules.storable import safe_str, storable_text

LOGGED_A_SECOND = 100
TAIL_LINES, TAIL_CHARACTERS = 20, 8_000
LAST_LINE_CHARACTERS = 500


class CommandOutput:
    """Takes the lines of one program. A result has at most `result_limit` bytes of JSON."""

    def __init__(self, context: JobContext, result_limit: int, clock: Callable[[], float]) -> None:
        self._context = context
        self._result_limit = result_limit
        self._log = context.log  # its output is the handler's log, as the lines of `ctx.log` are
        self._clock = clock
        self._second, self._logged, self._left_out = 0.0, 0, 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._result: bytes | None = None

    async def take(self, stream: int, line: bytes) -> None:
        """One line. Raises TooManyNotes, and Stopped while it waits for room for a note."""
        if stream == STDERR:
            text = text_of(line)
            self._tail.append(text)
            self._write(text, "stderr")
            return
        said = parse(line)
        if isinstance(said, Progress):
            self._context.progress(said.current, said.total, said.message)
        elif isinstance(said, Note):
            await self._context.note(said.text)
        elif isinstance(said, ResultLine):
            self._result = said.json
        else:
            self._write(said.text, "stdout")

    def close(self) -> None:
        """Say how many lines were not logged."""
        if self._left_out:
            self._log.info("lines of the program were left out", count=self._left_out)
            self._left_out = 0

    @property
    def last_line(self) -> str:
        """The last line of standard error that says anything; empty when there is none."""
        lines = [text for text in self._tail if text.strip()]
        return storable_text(lines[-1].strip()[:LAST_LINE_CHARACTERS]) if lines else ""

    @property
    def tail(self) -> str | None:
        """The last lines of standard error, fit to be stored; None when there is none."""
        return storable_text("\n".join(self._tail)[-TAIL_CHARACTERS:]) or None

    def result(self) -> Result:
        """The result of a program that ended well: that of its last result line, or null."""
        raw = self._result
        if raw is None:
            return returned(None, self._result_limit)
        if len(raw) > self._result_limit:
            return _refused(f"its ::result takes more than {self._result_limit} bytes")
        try:
            return returned(json.loads(raw), self._result_limit)
        except (ValueError, RecursionError) as error:
            return _refused(f"its ::result is not JSON: {safe_str(error)}")

    def _write(self, text: str, stream: str) -> None:
        """Log a line, unless this second has had too many: a log of all that a program says could cost more than it."""
        if not text:
            return
        if self._clock() - self._second >= 1.0:
            self.close()
            self._second, self._logged = self._clock(), 0
        if self._logged < LOGGED_A_SECOND:
            self._logged += 1
            self._log.info(text, stream=stream)
        else:
            self._left_out += 1


def _refused(text: str) -> Failed:
    return Failed(JobError(Kind.RESULT_NOT_STORABLE, text), final=True)
