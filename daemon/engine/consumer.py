"""Takes deliveries from the source and runs a bounded number of them at the same time.

Built by the service; `receive` is called by the source on the event loop. A delivery that finds no free slot is
buffered here with its lease kept alive, for `buffer_timeout` seconds at most; then it goes back for another worker. A
slot is free again as soon as its handler has ended: while the outcomes of some are stored, others are claimed and run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from daemon.delivery import Delivery
from daemon.engine.attempt import Attempt, InFlight
from daemon.job import StopReason
from daemon.observe import Observer


class Process(Protocol):
    """Takes a delivery to its end, reply included, and frees its slot once its handler has ended."""

    async def process(self, delivery: Delivery, attempt: Attempt) -> None: ...


class Consumer:
    """The slots of one worker, and the deliveries that wait for one."""

    def __init__(
        self,
        pipeline: Process,
        in_flight: InFlight,
        slots: int,
        buffer_timeout: float,
        observer: Observer,
        *,
        on_buffer_timeout: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline = pipeline
        self._in_flight = in_flight
        self._slots = slots
        self._buffer_timeout = buffer_timeout
        self._observer = observer
        self._on_buffer_timeout = on_buffer_timeout
        self._clock = clock
        self._buffer: deque[tuple[float, Delivery]] = deque()
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
    def buffered(self) -> int:
        """How many deliveries wait for a slot."""
        return len(self._buffer)

    @property
    def outstanding(self) -> int:
        """How many deliveries have had no reply."""
        return self._in_flight.count + len(self._buffer)

    def receive(self, delivery: Delivery) -> None:
        """Start a delivery, or let it wait for a slot. Never blocks."""
        self._observer.received(delivery.delivery_attempt)
        if self._stopping:
            self._nack([delivery], "drain")
        elif self._taken < self._slots:
            self._start(delivery)
        else:
            self._buffer.append((self._clock(), delivery))

    async def nack_overdue(self) -> None:
        """Give back what has waited for a slot too long, so that a worker with free slots gets it."""
        limit = self._clock() - self._buffer_timeout
        overdue = []
        while self._buffer and self._buffer[0][0] <= limit:
            overdue.append(self._buffer.popleft()[1])
        if overdue:
            if self._on_buffer_timeout is not None:
                self._on_buffer_timeout()  # first, or the source is sent them again at once
            self._nack(overdue, "buffer_timeout")

    def stop(self) -> None:
        """Start nothing any more, and give back what never started."""
        self._stopping = True
        waiting = [delivery for _, delivery in self._buffer]
        self._buffer.clear()
        self._nack(waiting, "drain")

    async def drain(self, seconds: float, last_seconds: float, cut_short: asyncio.Event) -> int:
        """Let handlers end for `seconds` or until `cut_short`, cancel the rest, wait `last_seconds` more for them.

        How many were cancelled.
        """
        self.stop()
        self._in_flight.ask_to_stop(StopReason.DRAINING)
        async with asyncio.TaskGroup() as waits:
            idle = waits.create_task(self._idle.wait())
            cut = waits.create_task(cut_short.wait())
            await asyncio.wait({idle, cut}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            cut.cancel()
        if self._idle.is_set():
            return 0
        left = self._in_flight.count
        self._in_flight.cancel_all(StopReason.DRAINING)
        with suppress(TimeoutError):
            async with asyncio.timeout(last_seconds):
                await self._idle.wait()
        return left

    def _start(self, delivery: Delivery) -> None:
        if not delivery.start():
            return
        attempt = Attempt()
        attempt.releases.append(self._free)
        self._in_flight.add(attempt)
        self._taken += 1
        self._idle.clear()
        attempt.task = self._loop.create_task(self._run(delivery, attempt))

    async def _run(self, delivery: Delivery, attempt: Attempt) -> None:
        try:
            await self._pipeline.process(delivery, attempt)
        except BaseException as error:
            # Whatever was claimed is still claimed in the database and is given back by the next comparison.
            delivery.nack()
            if not isinstance(error, Exception):
                raise
            self._observer.background_loop_failed("pipeline", error, 0.0)
        finally:
            attempt.handler_done()
            attempt.task = None
            self._in_flight.remove(attempt)
            if not self._in_flight.count:
                self._idle.set()

    def _free(self) -> None:
        self._taken -= 1
        while self._buffer and self._taken < self._slots and not self._stopping:
            self._start(self._buffer.popleft()[1])

    def _nack(self, deliveries: list[Delivery], why: str) -> None:
        for delivery in deliveries:
            delivery.nack()
        if deliveries:
            self._observer.nacked(len(deliveries), why)
