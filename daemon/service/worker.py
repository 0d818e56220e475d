"""Builds a worker from its settings and runs it: the only place that wires the floors together.

Called by `headcount run`. The main thread keeps the life signs; a second thread runs the event loop with everything
else (`workroom`). Neither decides anything about jobs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from uuid import uuid4

import uvloop

from daemon.engine.attempt import InFlight
from daemon.engine.blocked import examine
from daemon.engine.lifeline import Lifeline, WorkerId
from daemon.errors import StartupError
from daemon.observe import BlockedLoop, Observer, Observers
from daemon.postgres.database import sync_engine
from daemon.postgres.migrations import check_database
from daemon.postgres.worker_registration import WorkerRegistration
from daemon.registry import Registry
from daemon.rules.shutdown import ShutdownPlan
from daemon.service.probes import Probes
from daemon.service.runtime import REGULAR_BEATS, WorkerRuntime
from daemon.settings import Settings
from daemon.telemetry.health import HealthServer
from daemon.telemetry.logs import Logs
from daemon.telemetry.metrics import Metrics
from daemon.telemetry.tracing import tracing

TRACE_SECONDS = 0.3
END_SECONDS = 0.2
BLOCKED_SECONDS = 0.5  # nothing is sent any more; its jobs were given back, so it ends before they run elsewhere
FAILED, REFUSED = 1, 2
COLLECT_AFTER = (50_000, 20, 20)  # new objects; a hundred jobs in flight are some thousands


class Worker:
    """One worker process. `run` returns its exit code, or raises what it failed of."""

    def __init__(self, settings: Settings, registry: Registry, observer: Observer | None = None) -> None:
        self.settings = settings
        self.workroom: WorkerRuntime | None = None
        self._registry = registry
        self._metrics = Metrics(registry.names, settings.revision, settings.pool)
        self._tracing = tracing(os.environ, settings.revision)
        hearers = (self._metrics, Logs(), self._tracing, observer)
        self._observer = Observers(*(one for one in hearers if one is not None))
        self._identity = WorkerId(uuid4())
        self._in_flight = InFlight()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name="headcount-loop", daemon=True)
        url, pooler = settings.database_url.get_secret_value(), settings.database_pooler
        self._engine = sync_engine(url, 1, pooler, timeout=3, hangs_up=True)
        self._registration = WorkerRegistration(
            self._engine,
            socket.gethostname(),
            settings.revision,
            settings.slots,
            settings.heartbeat_seconds * REGULAR_BEATS,
            settings.pool,
        )
        self.lifeline = Lifeline(
            self._registration,
            self._identity,
            self._in_flight,
            self,
            self._observer,
            beat_seconds=settings.heartbeat_seconds,
            loop_patience=settings.event_loop_timeout_seconds,
            drain=self._drain,
            plan=ShutdownPlan.of(settings.drain_seconds),
        )
        self.health = HealthServer(self._metrics.registry, Probes(self), settings.http_host, settings.http_port)

    def run(self) -> int:
        """Work until a signal, or until the subscription is lost. Raises StartupError when it can't start."""
        check_database(self._engine)
        self._name_gauges()
        self.health.start()
        self._registration.register(self._identity.id)
        self._observer.worker_registered(self._identity.id, self.settings.revision)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        _spare_the_collector()
        self._thread.start()
        self._begun.wait()  # what is called on a loop that is not there yet is lost, and its answer missed for ever
        self.lifeline.run()
        if self.lifeline.loop_lag < BLOCKED_SECONDS and self._done.wait(
            self.lifeline.left(self.lifeline.plan.replied_by)
        ):
            self._thread.join(END_SECONDS)
        if self._tracing is not None:
            self._tracing.close(TRACE_SECONDS)
        if self._failure is None and self._lingers():
            _end_at_once()
        self.health.stop()
        self._registration.close()
        if self._failure is not None:
            raise self._failure
        return 0

    def call(self, function: Callable[[], None]) -> None:
        """Run a function on the event loop, soon. Any thread; nothing happens once the loop is gone."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop has been closed meanwhile
            return

    def is_alive(self) -> bool:
        """Whether the event loop has work; a handler may hold its thread for longer."""
        return self._thread.is_alive() and not self._done.is_set()

    def where(self) -> BlockedLoop:
        """What the event loop is doing at this moment. Any thread; waits for nothing."""
        return examine(self._loop, self._thread.ident, self._in_flight, self._registry)

    def _lingers(self) -> bool:
        """Whether a handler holds the loop's thread or one of its own: the interpreter would wait for that."""
        others = (one for one in threading.enumerate() if one is not threading.current_thread())
        return self._thread.is_alive() or any(not one.daemon for one in others)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.lifeline.stop()

    def _drain(self) -> None:
        if self.workroom is not None:
            self.workroom.intake.stop()
            self.call(self.workroom.drain)

    def _run_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._work())
        except BaseException as error:
            self._fail(error)
        finally:
            self._end_of_work()

    async def _work(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
            self._begun.set()
            self.workroom = WorkerRuntime(
                self.settings,
                self._registry,
                self._identity,
                self._in_flight,
                self._observer,
                self._fail,
                self.lifeline.exit_in,
                self.lifeline.plan,
            )
            if self.lifeline.draining:
                self.workroom.drain()
            await self.workroom.run()
        except BaseException as error:
            self._fail(error)
        finally:  # handlers that nothing stops may hold the loop from here on
            self._end_of_work()

    def _end_of_work(self) -> None:
        self._begun.set()
        self._done.set()
        self.lifeline.wake()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self.lifeline.fail(REFUSED if isinstance(error, StartupError) else FAILED)

    def _name_gauges(self) -> None:
        def reading(read: Callable[[WorkerRuntime], float]) -> Callable[[], float]:
            return lambda: read(self.workroom) if self.workroom is not None else 0.0

        self._metrics.gauges(
            slots_total=self.settings.slots,
            slots_used=reading(lambda room: room.consumer.busy),
            outstanding=reading(lambda room: room.consumer.outstanding),
            buffered=reading(lambda room: room.consumer.buffered),
            drain_budget=self.settings.drain_seconds,
        )


def _end_at_once() -> None:
    """Every job has been settled or given back, so nothing is left to wait for."""
    sys.stdout.flush()
    os._exit(0)


def _spare_the_collector() -> None:
    """What was imported stays for good: it is no longer searched for garbage, which took a fifth of a job's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
