"""Keeps the worker's row alive: a heartbeat every few seconds, and the row's end.

Run by the main thread, so that a handler that blocks the event loop holds up no heartbeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

from daemon.engine.attempt import InFlight
from daemon.engine.shutdown import Shutdown
from daemon.errors import WorkerGone
from daemon.job import StopReason
from daemon.observe import Observer

RETRY_SECONDS = 1.0

RunOnLoop = Callable[[Callable[[], None]], None]  # soon, from any thread; never blocks and never raises


class WorkerRow(Protocol):
    """The worker's row in the database."""

    def register(self, me: UUID) -> None: ...
    def heartbeat(self, me: UUID, running: int, draining: bool) -> None: ...
    def deregister(self, me: UUID, delay: float = 0.0) -> int: ...


@dataclass(slots=True)
class WorkerId:
    """Who this worker is. New at every start, and again when another worker declared it dead."""

    id: UUID


class Heartbeat:
    """Beats every `interval` seconds, and at once when a stop begins. `last`: when one was last written."""

    def __init__(
        self,
        row: WorkerRow,
        worker_id: WorkerId,
        in_flight: InFlight,
        shutdown: Shutdown,
        run_on_loop: RunOnLoop,
        observer: Observer,
        *,
        interval: float,
        now: float,
    ) -> None:
        self._row = row
        self._worker_id = worker_id
        self._in_flight = in_flight
        self._shutdown = shutdown
        self._run_on_loop = run_on_loop
        self._observer = observer
        self._interval = interval
        self._due = now + interval
        self._draining = False
        self.last = now

    def run_if_due(self, now: float) -> float:
        """Beat if it is time; when to call this again."""
        if self._shutdown.stopping and not self._draining:
            self._draining, self._due = True, now
        if now >= self._due:
            self._due = now + (self._interval if self._beat(now) else RETRY_SECONDS)
        return self._due

    def deregister(self) -> None:
        """Delete the row and free what it still claims; threads that still run end with the process, so that waits."""
        delay = self._shutdown.exit_in() + 1.0 if self._in_flight.left_threads else 0.0
        try:
            self._row.deregister(self._worker_id.id, delay)
        except Exception as error:
            self._observer.heartbeat_failed(error)

    def _beat(self, now: float) -> bool:
        began = time.perf_counter()
        try:
            try:
                self._row.heartbeat(self._worker_id.id, self._in_flight.claimed, self._draining)
            except WorkerGone:
                self._start_over()
        except Exception as error:
            self._observer.heartbeat_failed(error)
            return False
        self._observer.heartbeat(time.perf_counter() - began, now - self._due)
        self.last = now
        return True

    def _start_over(self) -> None:
        """Another worker declared us dead and freed our jobs: drop them all and go on under a new id."""
        self._observer.worker_declared_dead(self._worker_id.id)
        self._run_on_loop(lambda: self._in_flight.cancel_all(StopReason.CLAIM_LOST))
        if not self._shutdown.stopping:
            new = uuid4()
            self._row.register(new)
            self._worker_id.id = new
