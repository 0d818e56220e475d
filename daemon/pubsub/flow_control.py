"""How many messages a worker may have: its slots, and what it keeps ready behind them. Arithmetic only.

Asked by `streams` and `streaming_pull`, which count for themselves what is out.
"""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 10.0

# Pub/Sub gives each stream about 10 MB/s (https://cloud.google.com/pubsub/quotas#resource_limits).
FULL_BYTES = 8 * 1024 * 1024  # a second and a stream
LONG_ENOUGH = 2.0  # seconds
MOST_STREAMS = 8


class Prefetch:
    """Messages that are kept ready behind busy slots, as long as slots come free often enough for them.

    A message that waited too long is nacked, which spends one of its delivery attempts. From then on nothing is kept
    ready until `prefetch` jobs have ended within `window` seconds: otherwise messages behind long jobs would be pulled
    and nacked until Pub/Sub gives them up.
    """

    def __init__(self, prefetch: int, window: float = WINDOW_SECONDS) -> None:
        self._prefetch = prefetch
        self._window = window
        self._ends: deque[tuple[float, int]] = deque()
        self._ended = 0
        self.size = prefetch

    def waited_in_vain(self) -> None:
        self.size = 0
        self._ends.clear()
        self._ended = 0

    def jobs_ended(self, count: int, now: float) -> None:
        if self.size == self._prefetch:
            return
        self._ends.append((now, count))
        self._ended += count
        while self._ends[0][0] < now - self._window:
            self._ended -= self._ends.popleft()[1]
        if self._ended >= self._prefetch:
            self.size = self._prefetch


class Saturation:
    """Decides when to open another stream: the open ones are saturated, and the worker could take more."""

    def __init__(self) -> None:
        self._began = 0.0
        self._bytes: int | None = None

    def wants_another(self, now: float, received: int, streams: int, *, hungry: bool) -> bool:
        """Whether to open one more than `streams`, `received` bytes having come so far.

        `hungry`: the worker could hold far more messages than it has, so that it is not the one who is slow; it must
        have been so at every look for LONG_ENOUGH.
        """
        if not hungry or streams >= MOST_STREAMS or self._bytes is None:
            self._begin(now, received)
            return False
        seconds = now - self._began
        if seconds < LONG_ENOUGH:
            return False
        full = received - self._bytes >= FULL_BYTES * streams * seconds
        self._begin(now, received)
        return full

    def _begin(self, now: float, received: int) -> None:
        self._began, self._bytes = now, received
