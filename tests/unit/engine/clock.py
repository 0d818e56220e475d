"""A clock that tests move, in place of a module's `time`.

Used where a loop waits by the clock: nothing sleeps, and the test decides what time it is.
"""

from __future__ import annotations


class Clock:
    """Stands in for the module `time` of the code under test."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now
