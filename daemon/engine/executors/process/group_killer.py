"""A small process that kills the process groups of a worker's children when the worker is gone, however it went.

Used by the pool. Each child dies with the worker by the kernel's doing; what it has started would go on. This file is
also that process's program: it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

END_SECONDS = 2.0


class GroupKiller:
    """The worker's side: `add` a group, `discard` it when nothing of it is left."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, group: int) -> None:
        """From here on this group does not outlive the worker."""
        if self._process is None:
            command = [sys.executable, "-I", "-S", __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)
        self._tell(f"+{group}\n")

    def discard(self, group: int) -> None:
        """Its number may soon be another's."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the process, which kills what is left."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # somebody has killed it
                self._process.stdin.write(line.encode())


def kill_at_the_end(lines: Iterable[str]) -> None:
    """Read groups until the worker is gone, then kill those that are left."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    kill_at_the_end(sys.stdin)
