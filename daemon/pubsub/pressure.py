"""When another streaming pull is worth its threads: the ones there are carry all they can, and the worker wants more.

Asked by `subscriber` several times a second. Pub/Sub gives each stream about 10 MB/s
(https://cloud.google.com/pubsub/quotas#resource_limits); below that, one stream is as fast as many.
"""

from __future__ import annotations

FULL_BYTES = 8 * 1024 * 1024  # a second and a stream
LONG_ENOUGH = 2.0  # seconds
MOST_STREAMS = 8


class Pressure:
    """Watches what comes in over all streams together."""

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
