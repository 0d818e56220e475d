"""When a failed attempt runs again: arithmetic only.

Called by `lifecycle.settle`, and by the engine's loops for their own pauses. The random source is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_DELAY = 365 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: `initial` after the first failure, times `factor` after each further one, at most `maximum`.

    With `jitter` the delay is drawn evenly from the upper half, so that jobs that failed together spread out.
    """

    initial: float = 2.0
    factor: float = 2.0
    maximum: float = 300.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if not (0 <= self.initial <= self.maximum <= LONGEST_DELAY and 1 <= self.factor < math.inf):
            raise ValueError(
                "a Backoff needs 0 <= initial <= maximum <= one year, in seconds, and a finite factor >= 1"
            )


def retry_delay(backoff: Backoff, failures: int, rng: Callable[[], float]) -> float:
    """Seconds before the next attempt after `failures` (>= 1) failures; `rng` gives a number in [0, 1)."""
    exponent = min(max(failures, 1) - 1, 500)
    try:
        delay = backoff.initial * backoff.factor**exponent
    except OverflowError:
        delay = backoff.maximum
    delay = min(delay, backoff.maximum)
    return delay * (1 + rng()) / 2 if backoff.jitter else delay
