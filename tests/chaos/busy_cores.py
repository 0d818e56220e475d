"""Processes that take every core, so that whatever is measured has to share them.

Used by scenarios that must keep their times on a crowded machine too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from daemon.local.child import end_with_owner

EACH_CORE = 3


@contextmanager
def busy_cores(each_core: int = EACH_CORE) -> Iterator[None]:
    """So many endless loops for each core, until the end of the `with`."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=end_with_owner(signal.SIGKILL))
        for _ in range((os.cpu_count() or 1) * each_core)
    ]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
        for one in loops:
            one.wait()
