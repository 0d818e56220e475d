"""Process groups: how everything that an attempt has started is ended, and how a child ends with its worker.

Used by the executors that start processes. Each child leads a session of its own (`start_new_session`), so that its
process id is the id of its group.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

PR_SET_PDEATHSIG = 1


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to every process of a group; nothing happens when it has none left."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses when only zombies are left
        os.killpg(leader, number)


def end_with_worker() -> Callable[[], None] | None:
    """A `preexec_fn` that has Linux kill the child when the thread that started it ends, with its process or before.

    None on other systems.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: nothing may be imported after it
    worker = os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker:
            os._exit(1)

    return ask
