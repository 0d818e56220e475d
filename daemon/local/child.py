"""Child processes that do not outlive their owner.

Called by the embedded servers and the test harness. It starts nothing itself: it gives `subprocess`
the function to run in the child.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def end_with_owner(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that asks Linux to send `number` to the child when its owner dies, however it dies.

    The kernel sends it when the *thread* that forked ends, so only the main thread gets one. None
    there and on other systems: leftovers are then found at the next start.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: nothing may be imported after it
    owner = os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != owner:
            os._exit(1)

    return ask
