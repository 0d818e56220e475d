"""Opens and closes the intake: nothing is pulled while the database is away.

Told by the store's lanes, on the event loop. A stall shorter than a second changes nothing, because retiring streams
for a deadlock would cost more than it saves; running handlers and their leases are never touched.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

STALL_SECONDS = 1.0


class Source(Protocol):
    """Where deliveries come from."""

    def pause(self) -> None:
        """Take in nothing more."""
        ...

    async def resume(self) -> None:
        """Take in again."""
        ...


class Intake:
    """Keeps the source closed for as long as any lane of the store stalls."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._away = 0
        self._closed = False
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._resuming: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing is pulled."""
        return self._closed or self._stopped

    def away(self, away: bool) -> None:
        """A lane of the store stalls, or goes on."""
        self._away += 1 if away else -1
        if self._away and self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(STALL_SECONDS, self._close)
        elif not self._away:
            self._open()

    def stop(self) -> None:
        """Close for good. Any thread, signal handlers too."""
        self._stopped = True
        self._source.pause()

    def _close(self) -> None:
        self._timer = None
        self._closed = True
        self._source.pause()

    def _open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed and not self._stopped:
            self._closed = False
            self._resuming = asyncio.get_running_loop().create_task(self._resume())

    async def _resume(self) -> None:
        """Take in again, unless the intake was closed before this began or while it went on."""
        if not self.closed:
            await self._source.resume()
        if self.closed:
            self._source.pause()
