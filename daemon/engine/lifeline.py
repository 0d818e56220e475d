"""The life signs of a worker, in the main thread: heartbeat, comparison with the database, signals, the last resort.

Built by the service. The event loop runs in another thread, so that a handler that blocks it holds up neither a
heartbeat nor a signal. A blocked loop is reported, and ends the worker only after `loop_patience`.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol
from uuid import UUID, uuid4

from daemon.engine.attempt import InFlight
from daemon.engine.reconciliation import compare
from daemon.errors import WorkerGone
from daemon.job import Holdings, StopReason
from daemon.observe import BlockedLoop, Observer
from daemon.rules.shutdown import ShutdownPlan

COMPARE_SECONDS = 1.0
BLOCKED_SECONDS = 1.0
SAID_AGAIN_SECONDS = 5.0
RETRY_SECONDS = 1.0
STANDARD_ERROR = 2
FROZEN = 70


class WorkerRegistration(Protocol):
    """The worker's row in the database, on a connection of its own."""

    def register(self, me: UUID) -> None:
        """Register."""
        ...

    def heartbeat(self, me: UUID, running: int, draining: bool) -> None:
        """One heartbeat; raises WorkerGone."""
        ...

    def claimed_jobs(self, me: UUID) -> Holdings:
        """What the database says we hold."""
        ...

    def vacate(self, me: UUID, jobs: Sequence[UUID]) -> None:
        """The handlers of jobs that were ended from outside have ended."""
        ...

    def release(self, me: UUID, jobs: Sequence[tuple[UUID, int]]) -> frozenset[UUID]:
        """Free jobs that we hold but do not run; those that were still held."""
        ...

    def deregister(self, me: UUID, delay: float = 0.0) -> int:
        """Delete our row and free what we hold; it begins elsewhere after `delay` seconds."""
        ...


class LoopThread(Protocol):
    """The thread of the event loop."""

    def call(self, function: Callable[[], None]) -> None:
        """Run a function on the loop, soon; never blocks and never raises."""
        ...

    def is_alive(self) -> bool:
        """Whether the loop still runs."""
        ...

    def where(self) -> BlockedLoop:
        """What the loop is doing at this moment; never blocks."""
        ...


@dataclass(slots=True)
class WorkerId:
    """Who this worker is. New at every start, and again when another worker declared it dead."""

    id: UUID


class Lifeline:
    """Keeps one worker alive in the database until its loop ends."""

    def __init__(
        self,
        registration: WorkerRegistration,
        identity: WorkerId,
        in_flight: InFlight,
        loop: LoopThread,
        observer: Observer,
        *,
        beat_seconds: float,
        loop_patience: float,
        drain: Callable[[], None],
        plan: ShutdownPlan,
    ) -> None:
        self._registration = registration
        self._identity = identity
        self._in_flight = in_flight
        self._loop = loop
        self._observer = observer
        self._beat_seconds = beat_seconds
        self._loop_patience = loop_patience
        self._drain = drain
        self.plan = plan
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._stopping_at: float | None = None
        self._exit_code = 0
        self._beat_due = time.monotonic() + beat_seconds
        self._compare_due = time.monotonic() + COMPARE_SECONDS
        self._ping_sent = time.monotonic()
        self._ping_answered = True
        self._said_blocked = 0.0
        self.last_beat = time.monotonic()

    @property
    def draining(self) -> bool:
        """Whether an orderly stop has begun."""
        return self._stopping_at is not None

    @property
    def loop_lag(self) -> float:
        """Seconds since the event loop last failed to answer; 0 while it answers."""
        return 0.0 if self._ping_answered else time.monotonic() - self._ping_sent

    def fail(self, exit_code: int) -> None:
        """Begin an orderly stop, if none has begun, that the last resort ends with this exit code. Any thread."""
        self._exit_code = exit_code
        if not self.draining:
            self.stop()

    def stop(self) -> None:
        """Begin an orderly stop. Made to be called from a signal handler; a second call cuts the stop short."""
        if self._stopping_at is None:
            self._stopping_at = time.monotonic()
            self._beat_due = 0.0
            threading.Thread(target=self._last_resort, name="headcount-last-resort", daemon=True).start()
        self._drain()
        self._wakes.put(None)

    def left(self, seconds: float) -> float:
        """How much is left of so many seconds since the stop began; 0 when there is none."""
        if self._stopping_at is None:
            return 0.0
        return max(0.0, self._stopping_at + seconds - time.monotonic())

    def exit_in(self) -> float:
        """Within how many seconds the process has ended; 0 when no stop has begun."""
        return self.left(self.plan.kill_at)

    def run(self) -> None:
        """Live until the loop ends, or until a stop takes too long; then say farewell."""
        while self._loop.is_alive():
            self._rest()
            self._watch_loop()
            if time.monotonic() >= self._beat_due:
                self._beat()
            if time.monotonic() >= self._compare_due:
                self._compare()
            if self.draining and not self.left(self.plan.deregister_at):
                break
        self._say_farewell()

    def wake(self) -> None:
        """The loop has ended, or something is due: look now. Any thread."""
        self._wakes.put(None)

    def _rest(self) -> None:
        due = min(self._beat_due, self._compare_due, time.monotonic() + COMPARE_SECONDS)
        if self._stopping_at is not None:
            due = min(due, self._stopping_at + self.plan.deregister_at)
        if not self._ping_answered and not self._said_blocked:
            due = min(due, self._ping_sent + BLOCKED_SECONDS)
        try:
            self._wakes.get(timeout=max(0.0, due - time.monotonic()))
        except Empty:
            return

    def _watch_loop(self) -> None:
        lag = self.loop_lag
        self._observer.event_loop_lag(lag)
        if self._ping_answered:
            self._ping_sent, self._ping_answered, self._said_blocked = time.monotonic(), False, 0.0
            self._loop.call(self._pong)
            return
        if lag >= max(BLOCKED_SECONDS, self._said_blocked + SAID_AGAIN_SECONDS if self._said_blocked else 0.0):
            self._said_blocked = lag
            self._observer.event_loop_blocked(lag, self._loop.where())
        if lag > self._loop_patience and self._loop.is_alive():
            self._say_farewell()
            os._exit(FROZEN)

    def _pong(self) -> None:
        self._ping_answered = True

    def _beat(self) -> None:
        began = time.monotonic()
        late = max(0.0, began - self._beat_due) if self._beat_due else 0.0
        try:
            try:
                self._registration.heartbeat(self._identity.id, self._in_flight.claimed, self.draining)
            except WorkerGone:
                self._start_over()
        except Exception as error:
            self._observer.heartbeat_failed(error)
            self._beat_due = time.monotonic() + RETRY_SECONDS
            return
        self.last_beat = time.monotonic()
        self._observer.heartbeat(self.last_beat - began, late)
        self._beat_due = began + self._beat_seconds

    def _start_over(self) -> None:
        """Another worker declared us dead and freed our jobs: drop them all and live on under a new id."""
        self._observer.worker_declared_dead(self._identity.id)
        self._loop.call(lambda: self._in_flight.cancel_all(StopReason.CLAIM_LOST))
        if not self.draining:
            new = uuid4()
            self._registration.register(new)
            self._identity.id = new

    def _compare(self) -> None:
        me = self._identity.id
        before = self._in_flight.snapshot()
        try:
            held = self._registration.claimed_jobs(me)
            difference = compare(before, held, self._in_flight.snapshot())
            # A job that was claimed and settled within this comparison looks like a stray; freeing it finds no row.
            strays = difference.claimed_not_run and self._registration.release(me, difference.claimed_not_run)
            if strays:
                self._observer.jobs_released(sorted(strays))
            if difference.over:
                self._registration.vacate(me, difference.over)
        except Exception as error:
            self._observer.heartbeat_failed(error)
            self._compare_due = time.monotonic() + RETRY_SECONDS
            return
        for job_id, attempt in difference.run_not_claimed:
            self._lose(job_id, attempt)
        self._compare_due = time.monotonic() + COMPARE_SECONDS

    def _lose(self, job_id: UUID, attempt: int) -> None:
        self._observer.claim_lost(job_id, attempt)
        self._loop.call(lambda: self._in_flight.cancel(job_id, attempt, StopReason.CLAIM_LOST))

    def _say_farewell(self) -> None:
        try:
            self._registration.deregister(
                self._identity.id, self.exit_in() + 1.0 if self._in_flight.left_threads else 0.0
            )
        except Exception as error:
            self._observer.heartbeat_failed(error)

    def _last_resort(self) -> None:
        """End the process before Cloud Run kills it, whatever still hangs: the client's own joins have no timeout."""
        # Not a thread of Python: it needs no interpreter, which a handler's C code may hold, and says where that is.
        faulthandler.dump_traceback_later(self.plan.kill_at, exit=True, file=STANDARD_ERROR)
        time.sleep(self.plan.exit_at)
        os._exit(self._exit_code)
