"""Looks at everything that is followed, four times a second, with one statement however many follow it.

One per process, on the event loop of the API. Nobody listens for notifications: a row that was missed once is seen by
the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from daemon.api.streams.watch import Watch
from daemon.live import Changes, Position
from daemon.telemetry.metrics.requests import RequestMetrics

TICK_SECONDS = 0.25
LOOK_SECONDS = 5.0
LINGER_SECONDS = 15.0

Look = Callable[[Sequence[Position]], Awaitable[Changes]]


class Reader:
    """Keeps a Watch for whatever is followed. `looks` is the number of the newest look.

    `stopping` says that the process ends: then every stream does, and the reader is `closed`.
    """

    def __init__(self, look: Look, stopping: Callable[[], bool], metrics: RequestMetrics) -> None:
        self._look = look
        self._stopping = stopping
        self._metrics = metrics
        self._watches: dict[UUID, Watch] = {}
        self._left: dict[UUID, float] = {}
        self.closed = False
        self.looks = 0

    @contextmanager
    def following(self, orchestration_id: UUID) -> Iterator[tuple[Watch, asyncio.Event]]:
        """The watch of an orchestration, and an event that is set whenever there may be something new."""
        watch = self._watches.setdefault(orchestration_id, Watch(orchestration_id))
        waker = asyncio.Event()
        waker.set()
        watch.wakers.add(waker)
        self._left.pop(orchestration_id, None)
        self._metrics.streams.inc()
        try:
            yield watch, waker
        finally:
            self._metrics.streams.dec()
            watch.wakers.discard(waker)
            if not watch.wakers:
                self._left[orchestration_id] = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Look until the process stops, then let every follower go."""
        loop = asyncio.get_running_loop()
        while not self._stopping():
            began = loop.time()
            self._drop_left(began)
            if self._watches:
                await self._look_once()
            await asyncio.sleep(max(TICK_SECONDS - (loop.time() - began), TICK_SECONDS / 5))
        self.closed = True
        for watch in self._watches.values():
            watch.wake()

    async def _look_once(self) -> None:
        watches = dict(self._watches)
        self.looks += 1
        number = self.looks
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                changes = await self._look([watch.position for watch in watches.values()])
        except Exception as error:  # followers wait, with heartbeats, until the database answers again
            self._metrics.look_failed(error)
            return
        self._metrics.looked(asyncio.get_running_loop().time() - began)
        states = {state.id: state for state in changes.states}
        for orchestration_id, watch in watches.items():
            watch.apply(changes.epoch, states.get(orchestration_id))
            watch.as_of = number

    def _drop_left(self, now: float) -> None:
        """A client that comes back soon finds the watch as it was."""
        for orchestration_id, since in list(self._left.items()):
            if now - since > LINGER_SECONDS:
                del self._left[orchestration_id], self._watches[orchestration_id]
