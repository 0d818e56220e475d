"""Whether and why a handler should stop.

Set by the engine, read by the handler's context and its durable steps, in any thread. It decides nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from daemon.errors import Stopped
from daemon.job import StopReason


class StopSignal:
    """Says whether and why a handler should stop. Set by the engine, read from any thread."""

    def __init__(self) -> None:
        self._reason: StopReason | None = None
        self._events: dict[str, threading.Event] = {}  # made only when somebody waits: it is expensive
        self._listener: Callable[[StopReason], None] | None = None

    def set(self, reason: StopReason) -> None:
        """Ask for a stop; the first reason counts, but a lost claim overrules it."""
        if self._reason is None or reason is StopReason.CLAIM_LOST:
            self._reason = reason
        for event in list(self._events.values()):  # after the reason is set; `wait` looks the other way round
            event.set()
        if self._listener is not None:
            self._listener(self._reason)

    def on_set(self, listener: Callable[[StopReason], None] | None) -> None:
        """From here on `set` calls this function, in the thread that calls `set`; None ends that."""
        self._listener = listener

    @property
    def reason(self) -> StopReason | None:
        """Why to stop, or None to go on."""
        return self._reason

    def raise_if_set(self) -> None:
        """Raises Stopped when a stop was asked for."""
        if self._reason is not None:
            raise Stopped(str(self._reason))

    def wait(self, seconds: float) -> bool:
        """Block a thread until a stop is asked for, at most `seconds`; True if it was."""
        event = self._events.setdefault("stop", threading.Event())
        return self._reason is not None or event.wait(seconds)
