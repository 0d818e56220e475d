"""Notices that a child process has ended, without waiting for it: its number stays its own until somebody does.

Used by the worker's end of a child. On Linux by a file descriptor of the process (pidfd_open(2)); elsewhere it looks
twenty times a second.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

LOOK_SECONDS = 0.05


class Death:
    """Calls `on_death` on the event loop; then `happened` is set."""

    def __init__(self, process: subprocess.Popen[bytes], on_death: Callable[[], None]) -> None:
        self.happened = asyncio.Event()
        self._process = process
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor: int | None = None
        if sys.platform == "linux":
            with suppress(OSError):  # before Linux 5.3, and in sandboxes that lack it
                self._descriptor = os.pidfd_open(process.pid)
        if self._descriptor is None:
            self._look()
        else:
            self._loop.add_reader(self._descriptor, self._notice)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _look(self) -> None:
        if self._process.poll() is None:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        else:
            self._notice()

    def _notice(self) -> None:
        self.close()
        if not self.happened.is_set():
            self.happened.set()
            self._on_death()
