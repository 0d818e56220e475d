"""How often a line of one kind may be written: a few at once, then counted and summed up.

Used by `logs.py`, so that a flood of failing jobs costs a few lines and not a line per job. Called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

KINDS_LIMIT = 1_000
OTHER_KINDS = "kinds beyond the first 1,000"


class Limiter:
    """Lets `burst` lines of a kind through in each window of `seconds`, and counts the rest.

    At most KINDS_LIMIT kinds are told apart at a time; lines of more are only counted, all together.
    """

    def __init__(self, burst: int = 5, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}
        self._left: dict[str, int] = {}

    def allows(self, key: str) -> bool:
        """Whether a line of this kind may be written now; if not, it is counted."""
        with self._lock:
            now = self._clock()
            if key not in self._windows and len(self._windows) >= KINDS_LIMIT:
                key = OTHER_KINDS
            begun, written = self._windows.get(key, (now, 0))
            if now - begun >= self._seconds:
                begun, written = now, 0
            self._windows[key] = (begun, written + 1)
            if written < self._burst and key != OTHER_KINDS:
                return True
            self._left[key] = self._left.get(key, 0) + 1
            return False

    def left_out(self, *, everything: bool = False) -> dict[str, int]:
        """How many lines of each kind were left out in windows that are over; the count starts anew.

        With `everything`, also in windows that still go on (at the end of the process).
        """
        with self._lock:
            now = self._clock()
            over = [key for key, (begun, _) in self._windows.items() if everything or now - begun >= self._seconds]
            for key in over:
                del self._windows[key]
            return {key: self._left.pop(key) for key in over if key in self._left}
