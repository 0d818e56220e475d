"""Takes deliveries from the source and runs a bounded number of them at the same time.

Built by the service; `receive` is called by the source on the event loop. A delivery that finds no free slot waits here
with its lease kept alive, for `hold_seconds` at most; then it goes back for another worker. A slot is free again as
soon as its handler has ended: while the outcomes of some are stored, others are claimed and run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from daemon.delivery import Delivery
from daemon.engine.running import Running
from daemon.job import StopReason
from daemon.observe import Observer


class Process(Protocol):
    """What a delivery goes through."""

    async def process(self, delivery: Delivery, leave: Callable[[], None]) -> None:
        """Take one delivery to its end, reply included; `leave` its slot once its handler has ended."""
        ...


class Slot:
    """The right of one delivery to run a handler; it ends once. It keeps its task from the garbage collector."""

    __slots__ = ("_free", "_taken", "task")

    def __init__(self, free: Callable[[], None]) -> None:
        self._free = free
        self._taken = True
        self.task: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Let the next delivery have it."""
        if self._taken:
            self._taken = False
            self._free()


class Consumer:
    """The slots of one worker, and the deliveries that wait for one."""

    def __init__(
        self,
        pipeline: Process,
        running: Running,
        slots: int,
        hold_seconds: float,
        observer: Observer,
        *,
        overfull: Callable[[], None] | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._running = running
        self._slots = slots
        self._hold_seconds = hold_seconds
        self._observer = observer
        self._overfull = overfull
        self._held: deque[tuple[float, Delivery]] = deque()
        self._live: set[Slot] = set()
        self._taken = 0
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return self._taken

    @property
    def held(self) -> int:
        """How many deliveries wait for a slot."""
        return len(self._held)

    @property
    def outstanding(self) -> int:
        """How many deliveries have had no reply."""
        return len(self._live) + len(self._held)

    def receive(self, delivery: Delivery) -> None:
        """Start a delivery, or let it wait for a slot. Never blocks."""
        self._observer.received(delivery.delivery_attempt)
        if self._stopping:
            self._return([delivery], "drain")
        elif self._taken < self._slots:
            self._start(delivery)
        else:
            self._held.append((time.monotonic(), delivery))

    async def return_overdue(self) -> None:
        """Give back what has waited for a slot too long, so that a worker with free slots gets it."""
        limit = time.monotonic() - self._hold_seconds
        overdue = []
        while self._held and self._held[0][0] <= limit:
            overdue.append(self._held.popleft()[1])
        if overdue:
            if self._overfull is not None:
                self._overfull()  # first, or the source is sent them again at once
            self._return(overdue, "hold")

    def stop(self) -> None:
        """Start nothing any more, and give back what never started."""
        self._stopping = True
        waiting = [delivery for _, delivery in self._held]
        self._held.clear()
        self._return(waiting, "drain")

    async def drain(self, seconds: float, last_seconds: float, cut_short: asyncio.Event | None = None) -> int:
        """Let handlers end for `seconds` or until `cut_short`, cancel the rest, wait `last_seconds` more for them.

        How many were cancelled.
        """
        cut_short = cut_short or asyncio.Event()
        self.stop()
        self._running.ask_to_stop(StopReason.DRAINING)
        async with asyncio.TaskGroup() as waits:
            idle = waits.create_task(self._idle.wait())
            cut = waits.create_task(cut_short.wait())
            await asyncio.wait({idle, cut}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            cut.cancel()
        if self._idle.is_set():
            return 0
        left = len(self._live)
        self._running.cancel_all(StopReason.DRAINING)
        await self._emptied(last_seconds)
        return left

    async def _emptied(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _start(self, delivery: Delivery) -> None:
        if not delivery.start():
            return
        slot = Slot(self._free)
        self._live.add(slot)
        self._taken += 1
        self._idle.clear()
        slot.task = self._loop.create_task(self._run(delivery, slot))

    async def _run(self, delivery: Delivery, slot: Slot) -> None:
        try:
            await self._pipeline.process(delivery, slot.leave)
        except BaseException as error:
            # Whatever was claimed is still held in the database and is given back by the next heartbeat's comparison.
            delivery.nack()
            if not isinstance(error, Exception):
                raise
            self._observer.loop_failed("pipeline", error, 0.0)
        finally:
            slot.leave()
            slot.task = None
            self._live.discard(slot)
            if not self._live:
                self._idle.set()

    def _free(self) -> None:
        self._taken -= 1
        while self._held and self._taken < self._slots and not self._stopping:
            self._start(self._held.popleft()[1])

    def _return(self, deliveries: list[Delivery], why: str) -> None:
        for delivery in deliveries:
            delivery.nack()
        if deliveries:
            self._observer.returned(len(deliveries), why)
