"""How long messages are leased: briefly while they wait for a slot, for long once they have begun.

Used by `stream`, whose client has every lease measured here. A worker that is killed holds messages that no row tells
of; their leases bring them back about when rescue brings back the jobs that it ran. What has begun rides out an outage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

WAITING_SECONDS = 30
RENEWAL_SECONDS = 20  # the client renews all its leases after nine tenths of this at the latest
RENEWER = "Thread-LeaseMaintainer"  # should the client call it otherwise, what has begun gets the short leases too


class Leases:
    """The leases of one streaming pull; `begun` gives the ack ids of what has begun."""

    def __init__(self, lease_seconds: float, begun: Callable[[], set[str]]) -> None:
        self._running = round(lease_seconds)
        self.waiting = min(WAITING_SECONDS, self._running)
        self._begun = begun
        self.renewal = min(RENEWAL_SECONDS, self._running)

    @staticmethod
    def is_receipt(seconds: int) -> bool:
        """Whether the lease that this thread of the client asks for is the first, of messages that have just come."""
        return seconds != 0 and threading.current_thread().name != RENEWER

    def measured(self, ack_ids: Iterable[str], seconds: int) -> list[tuple[int, list[str]]]:
        """Seconds and the ids that get them, for a renewal by the client, or when it gives them back (0 seconds)."""
        if seconds == 0:
            return [(0, list(ack_ids))]
        begun = self._begun()
        running: list[str] = []
        waiting: list[str] = []
        for one in ack_ids:
            (running if one in begun else waiting).append(one)
        return [(length, ids) for length, ids in ((self._running, running), (self.waiting, waiting)) if ids]
