"""Looks at everything that is followed, four times a second, with one statement however many follow it.

One per process, on the event loop of the API. Nobody listens for notifications: a row that was missed once is seen by
the next look.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from daemon.api.streams.watch import Watch
from daemon.live import Changes, Position
from daemon.telemetry.metrics.requests import RequestMetrics

TICK_SECONDS = 0.25
LOOK_SECONDS = 5.0
LINGER_SECONDS = 15.0

LINKS_SECONDS = 5.0

Look = Callable[[Sequence[Position]], Awaitable[Changes]]
Valid = Callable[[Sequence[UUID]], Awaitable[Collection[UUID]]]


class Reader:
    """Keeps a Watch for whatever is followed. `looks` is the number of the newest look.

    `stopping` says that the process ends: then every stream does, and the reader is `closed`.
    """

    def __init__(self, look: Look, valid: Valid, stopping: Callable[[], bool], metrics: RequestMetrics) -> None:
        self._look = look
        self._valid = valid
        self._stopping = stopping
        self._metrics = metrics
        self._watches: dict[UUID, Watch] = {}
        self._left: dict[UUID, float] = {}
        self._links: Counter[UUID] = Counter()
        self._links_seen = 0.0
        self._ended_links: set[UUID] = set()
        self.closed = False
        self.looks = 0

    @contextmanager
    def following(self, orchestration_id: UUID, link_id: UUID | None = None) -> Iterator[tuple[Watch, asyncio.Event]]:
        """The watch of an orchestration, and an event that is set whenever there may be something new.

        `link_id` is the progress link that opened it, if one did: from time to time it is asked whether it still may.
        """
        watch = self._watches.setdefault(orchestration_id, Watch(orchestration_id))
        waker = asyncio.Event()
        waker.set()
        watch.wakers.add(waker)
        self._left.pop(orchestration_id, None)
        self._metrics.streams.inc()
        if link_id is not None:
            self._links[link_id] += 1
        try:
            yield watch, waker
        finally:
            self._metrics.streams.dec()
            watch.wakers.discard(waker)
            if link_id is not None:
                self._leave_link(link_id)
            if not watch.wakers:
                self._left[orchestration_id] = asyncio.get_running_loop().time()

    def has_ended(self, link_id: UUID | None) -> bool:
        """Whether a link that is followed here has expired, was revoked, or went with its orchestration."""
        return link_id in self._ended_links

    async def run(self) -> None:
        """Look until the process stops, then let every follower go."""
        loop = asyncio.get_running_loop()
        while not self._stopping():
            began = loop.time()
            self._drop_left(began)
            if self._watches:
                await self._look_once()
            if self._links and began - self._links_seen >= LINKS_SECONDS:
                self._links_seen = began
                await self._look_at_links()
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

    async def _look_at_links(self) -> None:
        asked = set(self._links)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                self._ended_links = asked - set(await self._valid(list(asked)))
        except Exception as error:
            self._metrics.look_failed(error)
            return
        if self._ended_links:
            for watch in self._watches.values():
                watch.wake()

    def _leave_link(self, link_id: UUID) -> None:
        self._links[link_id] -= 1
        if not self._links[link_id]:
            del self._links[link_id]

    def _drop_left(self, now: float) -> None:
        """A client that comes back soon finds the watch as it was."""
        for orchestration_id, since in list(self._left.items()):
            if now - since > LINGER_SECONDS:
                del self._left[orchestration_id], self._watches[orchestration_id]
