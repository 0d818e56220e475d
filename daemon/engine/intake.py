"""Opens and closes the intake: nothing is pulled without the database, without memory, or once a stop has begun.

Called by the store's operations and the admission, on the event loop. A stall shorter than a second changes nothing,
because closing streams for a deadlock would cost more than it saves; running handlers and their leases are never
touched.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from daemon.engine.shutdown import Shutdown

STALL_SECONDS = 1.0


class Source(Protocol):
    """Where deliveries come from. `pause` is called by any thread and by signal handlers."""

    def pause(self) -> None: ...
    async def resume(self) -> None: ...


class Intake:
    """Keeps the source closed for as long as anything stalls, and for good from a stop on."""

    def __init__(self, source: Source, shutdown: Shutdown, stall_seconds: float = STALL_SECONDS) -> None:
        self._source = source
        self._shutdown = shutdown
        self._stall_seconds = stall_seconds
        self._stalled = 0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._resuming: asyncio.Task[None] | None = None
        shutdown.subscribe(source.pause)

    @property
    def closed(self) -> bool:
        """Whether nothing is pulled."""
        return self._closed or self._shutdown.stopping

    def stall(self, begins: bool) -> None:
        """An operation of the store stalls, or there is no memory; and, once for each of these, that it is over."""
        self._stalled += 1 if begins else -1
        if self._stalled and self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._stall_seconds, self._close)
        elif not self._stalled:
            self._open()

    def _close(self) -> None:
        self._timer = None
        self._closed = True
        self._source.pause()

    def _open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            self._closed = False
            self._resuming = asyncio.get_running_loop().create_task(self._resume())

    async def _resume(self) -> None:
        """Pull again, unless the intake was closed before this began or while it went on."""
        if not self.closed:
            await self._source.resume()
        if self.closed:
            self._source.pause()
