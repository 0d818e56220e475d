"""What a child prints: its standard output and error, read line by line.

Used by the worker's end of a child. A pipe is read a little at a time, so that one that is flooded costs other jobs
nothing; the child waits meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import IO

from daemon.rules.storable import storable_text

CHUNK = 4096
PIPE_BYTES = 64 * 1024  # what a pipe can hold (pipe(7)): more than that was printed after the job had ended
LINE_LIMIT = 16 * 1024


class PrintedLines:
    """Reads one pipe until it ends, and calls `on_line` for every line that is not blank."""

    def __init__(self, pipe: IO[bytes], on_line: Callable[[str], None]) -> None:
        self._pipe = pipe
        self._on_line = on_line
        self._loop = asyncio.get_running_loop()
        self._begun = b""
        os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(pipe.fileno(), self._read)

    def read_rest(self) -> None:
        """Read what is in the pipe at this moment."""
        left = PIPE_BYTES
        while left > 0 and self._read():
            left -= CHUNK
        if self._begun:
            self._take(self._begun)
            self._begun = b""

    def close(self) -> None:
        """Read what is left, and no more."""
        self.read_rest()
        self._end()

    def _read(self) -> bool:
        if self._pipe.closed:
            return False
        try:
            data = os.read(self._pipe.fileno(), CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._begun) > LINE_LIMIT:
            self._take(self._begun)
            self._begun = b""
        return True

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._on_line(storable_text(text))

    def _end(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()
