"""Builds a worker from its settings and runs it.

Called by `headcount run`. The main thread keeps the worker's row alive and watches the event loop, which has a thread
of its own with everything else (`runtime`). Neither decides anything about jobs.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from uuid import uuid4

from daemon.engine.attempt import InFlight
from daemon.engine.heartbeat import Heartbeat, WorkerId
from daemon.engine.loop_watchdog import LoopWatchdog
from daemon.engine.reconciliation import Reconciler
from daemon.engine.shutdown import Shutdown
from daemon.observe import Observer, Observers
from daemon.postgres.database import sync_engine
from daemon.postgres.handlers import record_handlers
from daemon.postgres.schema_version import check_database
from daemon.postgres.worker_registration import WorkerRegistration
from daemon.registry import Registry
from daemon.rules.shutdown import ShutdownPlan
from daemon.service.loop_thread import LoopThread
from daemon.service.probes import Probes
from daemon.service.runtime import REGULAR_BEATS, WorkerRuntime
from daemon.settings import Settings
from daemon.telemetry.health import HealthServer
from daemon.telemetry.logs import Logs
from daemon.telemetry.metrics import Metrics
from daemon.telemetry.tracing import tracing

TRACE_SECONDS = 0.3
END_SECONDS = 0.2
BLOCKED_SECONDS = 0.5  # nothing is sent any more; its jobs were released, so it ends before they run elsewhere
EXIT_LOOP_BLOCKED = 70
COLLECT_AFTER = (50_000, 20, 20)  # new objects; a hundred jobs in flight are some thousands


class Worker:
    """One worker process. `run` returns its exit code, or raises what it failed of."""

    def __init__(self, settings: Settings, registry: Registry, observer: Observer | None = None) -> None:
        self._settings, self._registry = settings, registry
        self._worker_id = WorkerId(uuid4())
        self._shutdown = Shutdown(ShutdownPlan.of(settings.drain_seconds))
        self._metrics = Metrics(registry.names, settings.revision, settings.pool)
        self._tracing = tracing(os.environ, settings.revision)
        observers = (self._metrics, Logs(), self._tracing, observer)
        self._observer = Observers(*(observer for observer in observers if observer is not None))
        in_flight = InFlight()

        def make_runtime() -> WorkerRuntime:
            return WorkerRuntime(settings, registry, self._worker_id, in_flight, self._observer, self._shutdown)

        self._loop = LoopThread(make_runtime, self._shutdown, in_flight, registry)
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
        now, call = time.monotonic(), self._loop.call
        self._heartbeat = Heartbeat(
            self._registration,
            self._worker_id,
            in_flight,
            self._shutdown,
            call,
            self._observer,
            interval=settings.heartbeat_seconds,
            now=now,
        )
        self._reconciler = Reconciler(self._registration, self._worker_id, in_flight, call, self._observer, now=now)
        self._watchdog = LoopWatchdog(
            call, self._loop.where, self._observer, timeout=settings.event_loop_timeout_seconds, give_up=self._give_up
        )
        probes = Probes(settings, self._shutdown, self._heartbeat, self._watchdog, self._loop)
        self._health = HealthServer(self._metrics.registry, probes, settings.http_host, settings.http_port)

    def run(self) -> int:
        """Work until a signal, or until the subscription is lost. Raises StartupError when it can't start."""
        self._start()
        self._wait()
        return self._stop()

    def _start(self) -> None:
        check_database(self._engine)
        self._add_gauges()
        self._health.start()
        record_handlers(self._engine, self._registry, self._settings.revision)
        self._registration.register(self._worker_id.id)
        self._observer.worker_registered(self._worker_id.id, self._settings.revision)
        self._shutdown.guard()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._shutdown.stop)
        _freeze_gc()
        self._loop.start()

    def _wait(self) -> None:
        """Live until the loop's work has ended, or until a stop takes too long."""
        tasks = (self._watchdog, self._heartbeat, self._reconciler)
        deregister_at = self._shutdown.plan.deregister_at
        while not self._shutdown.is_due(deregister_at):
            due = min(task.run_if_due(time.monotonic()) for task in tasks)
            self._shutdown.wait(due - time.monotonic(), deregister_at)

    def _stop(self) -> int:
        self._heartbeat.deregister()
        if self._watchdog.lag(time.monotonic()) < BLOCKED_SECONDS:
            replied_by = self._shutdown.plan.replied_by
            while not self._shutdown.is_due(replied_by):
                self._shutdown.wait(replied_by, replied_by)
            self._loop.join(END_SECONDS)
        if self._tracing is not None:
            self._tracing.close(TRACE_SECONDS)
        error = self._shutdown.error
        if error is None and self._loop.has_live_threads():  # every job has been settled or released: wait for nothing
            sys.stdout.flush()
            self._shutdown.exit(0)
        self._health.stop()
        self._registration.close()
        if error is not None:
            raise error
        return 0

    def _give_up(self) -> None:
        self._heartbeat.deregister()
        self._shutdown.exit(EXIT_LOOP_BLOCKED)

    def _add_gauges(self) -> None:
        def gauge(read: Callable[[WorkerRuntime], float]) -> Callable[[], float]:
            return lambda: read(self._loop.runtime) if self._loop.runtime is not None else 0.0

        self._metrics.gauges(
            slots_total=self._settings.slots,
            slots_used=gauge(lambda runtime: runtime.consumer.busy),
            outstanding=gauge(lambda runtime: runtime.consumer.outstanding),
            buffered=gauge(lambda runtime: runtime.consumer.buffered),
            drain_budget=self._settings.drain_seconds,
        )


def _freeze_gc() -> None:
    """What was imported stays for good: it is no longer searched for garbage, which took a fifth of a job's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
