"""Builds a worker from its settings and runs it: the only file that wires the floors together.

Called by `headcount run`. The main thread keeps the life signs; a second thread runs the event loop with everything
else (the Workroom). Neither decides anything about jobs.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from uuid import uuid4

import anyio
import uvloop

from daemon.engine.consumer import Consumer
from daemon.engine.intake import Intake
from daemon.engine.lifeline import Identity, Lifeline
from daemon.engine.pipeline import Pipeline
from daemon.engine.relay import Relay
from daemon.engine.rescue import Rescuer
from daemon.engine.runner import HandlerRunner
from daemon.engine.running import Running
from daemon.engine.ticker import Step, Ticker
from daemon.observe import Observer, Observers
from daemon.postgres.database import async_engine, sync_engine
from daemon.postgres.due import Due, Leased
from daemon.postgres.migrations import check_database
from daemon.postgres.pulse import Pulse
from daemon.postgres.rescue import Rescue
from daemon.postgres.store import Store
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.subscriber import Subscriber
from daemon.registry import Registry
from daemon.settings import Settings
from daemon.telemetry.health import HealthServer
from daemon.telemetry.logs import Logs
from daemon.telemetry.metrics import Metrics

CONNECTIONS = 3
REGULAR_BEATS = 2.5
LAST_SECONDS = 1.0
FLUSH_SECONDS = 0.4
CLOSE_SECONDS = 0.7


class Workroom:
    """Everything that lives on the event loop, built on it."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        identity: Identity,
        running: Running,
        observer: Observer,
        failed: Callable[[Exception], None],
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._failed = failed
        self._wanted = asyncio.Event()
        self._engine = async_engine(settings.database_url.get_secret_value(), CONNECTIONS, settings.database_pooler)
        self._publisher = Publisher()
        self.subscriber = self._make_subscriber()
        self.intake = Intake(self.subscriber)
        self._due = Due(self._engine, settings.republish_after_seconds)
        self._relay = self._make_relay()
        self._events = Ticker("relay-events", 1.0, self._relay.publish_events, observer)
        self.store = Store(
            self._engine,
            lambda: identity.id,
            settings.worker_ttl_seconds,
            observer,
            completed=self._events.wake,
            on_away=self.intake.away,
        )
        self.consumer = self._make_consumer(registry, running)
        self._tickers = self._make_tickers(identity)
        self.opened = False

    async def run(self) -> None:
        """Work until `drain` is asked for, then stop in order."""
        try:
            async with anyio.create_task_group() as loops:
                loops.start_soon(self.store.run)
                for ticker in self._tickers:
                    loops.start_soon(ticker.run)
                await self.subscriber.open(self.consumer.receive, self._source_failed)
                self.opened = True
                await self._wanted.wait()
                await self._stop()
                loops.cancel_scope.cancel()
        finally:
            await self._publisher.close()
            await self._engine.dispose()

    def drain(self) -> None:
        """Begin the orderly stop; asked for a second time, cut it short. On the loop."""
        if self._wanted.is_set():
            self.consumer.hurry()
        self._wanted.set()

    async def _stop(self) -> None:
        began = asyncio.get_running_loop().time()
        self._observer.draining(self.consumer.busy, self._settings.drain_seconds)
        interrupted = await self.consumer.drain(self._settings.drain_seconds, LAST_SECONDS)
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._relay.publish_jobs()
                await self._relay.publish_events()
        except Exception as error:  # another worker's relay publishes what is left
            self._observer.loop_failed("drain", error, 0.0)
        await self.subscriber.close(CLOSE_SECONDS)
        self._observer.drained(interrupted, asyncio.get_running_loop().time() - began)

    def _source_failed(self, error: Exception) -> None:
        self._failed(error)
        self.drain()

    def _make_subscriber(self) -> Subscriber:
        settings = self._settings
        return Subscriber(
            settings.subscription(settings.jobs_subscription),
            streams=settings.streams,
            max_messages=settings.slots + settings.held,
            lease_seconds=settings.lease_seconds,
            observer=self._observer,
        )

    def _make_relay(self) -> Relay[Leased]:
        settings = self._settings
        return Relay(
            self._due,
            self._publisher,
            settings.topic(settings.jobs_topic),
            settings.topic(settings.events_topic),
            f"//headcount/projects/{settings.project}",
            self._observer,
        )

    def _make_consumer(self, registry: Registry, running: Running) -> Consumer:
        settings = self._settings
        runner = HandlerRunner(self.store.records, self._observer, settings.result_limit_bytes, settings.slots)
        patience = settings.unknown_job_patience_seconds
        pipeline = Pipeline(self.store, runner, registry, running, self._observer, patience, random.random)
        return Consumer(pipeline, running, settings.slots, settings.hold_seconds, self._observer)

    def _make_tickers(self, identity: Identity) -> list[Ticker]:
        settings = self._settings
        beat = settings.beat_seconds
        rescue = Rescue(
            self._engine, lambda: identity.id, settings.worker_ttl_seconds, beat * REGULAR_BEATS, settings.max_losses
        )
        rescuer = Rescuer(rescue, self._observer, self._events.wake)
        steps: dict[str, tuple[float, Step]] = {
            "relay-jobs": (1.0, self._relay.publish_jobs),
            "progress": (0.5, self.store.records.flush),
            "hold": (1.0, self.consumer.return_overdue),
            "rescue": (beat / 2, rescuer.round),
            "backlog": (5.0, self._report_backlog),
        }
        return [self._events, *(Ticker(name, pause, step, self._observer) for name, (pause, step) in steps.items())]

    async def _report_backlog(self) -> None:
        backlog = await self._due.backlog()
        self._observer.backlog(backlog.due, backlog.oldest)
        self._observer.unfinished(backlog.unfinished, backlog.oldest_unfinished)


class Worker:
    """One worker process. `run` returns its exit code, or raises what it failed of."""

    def __init__(self, settings: Settings, registry: Registry, observer: Observer | None = None) -> None:
        self.settings = settings
        self.workroom: Workroom | None = None
        self._registry = registry
        self._metrics = Metrics(registry.names, settings.revision)
        self._observer = Observers(*(one for one in (self._metrics, Logs(), observer) if one is not None))
        self._identity = Identity(uuid4())
        self._running = Running()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run_loop, name="headcount-loop", daemon=True)
        url, pooler = settings.database_url.get_secret_value(), settings.database_pooler
        self._engine = sync_engine(url, 1, pooler, patience=3)
        self._pulse = Pulse(
            self._engine,
            socket.gethostname(),
            settings.revision,
            settings.slots,
            settings.beat_seconds * REGULAR_BEATS,
        )
        self.lifeline = Lifeline(
            self._pulse,
            self._identity,
            self._running,
            self,
            self._observer,
            beat_seconds=settings.beat_seconds,
            loop_patience=settings.loop_patience_seconds,
            drain=self._drain,
        )
        self.health = HealthServer(self._metrics.registry, Probes(self), settings.http_host, settings.http_port)

    def run(self) -> int:
        """Work until a signal, or until the subscription is lost. Raises StartupError when it can't start."""
        check_database(self._engine)
        self._name_gauges()
        self.health.start()
        self._pulse.birth(self._identity.id)
        self._observer.worker_born(self._identity.id, self.settings.revision)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._thread.start()
        self.lifeline.run()
        self.health.stop()
        self._pulse.close()
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
        """Whether the event loop's thread still runs."""
        return self._thread.is_alive()

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
            self._failure = error
        finally:
            self.lifeline.wake()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.workroom = Workroom(
            self.settings, self._registry, self._identity, self._running, self._observer, self._fail
        )
        if self.lifeline.draining:
            self.workroom.drain()
        await self.workroom.run()

    def _fail(self, error: Exception) -> None:
        self._failure = error

    def _name_gauges(self) -> None:
        def reading(read: Callable[[Workroom], float]) -> Callable[[], float]:
            return lambda: read(self.workroom) if self.workroom is not None else 0.0

        self._metrics.gauges(
            slots_total=self.settings.slots,
            slots_used=reading(lambda room: room.consumer.busy),
            outstanding=reading(lambda room: room.consumer.busy + room.consumer.held),
            held=reading(lambda room: room.consumer.held),
            drain_budget=self.settings.drain_seconds,
        )


class Probes:
    """What the health port answers."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def live(self) -> list[str]:
        """Only what a restart mends: Cloud Run kills without a drain on it."""
        lag = self._worker.lifeline.loop_lag
        if lag > self._worker.settings.loop_patience_seconds / 2:
            return [f"the event loop has not answered for {lag:.0f} s"]
        return []

    def ready(self) -> list[str]:
        """Why this worker takes in nothing at the moment."""
        problems = [] if self.started() else ["the worker is starting"]
        if self._worker.lifeline.draining:
            problems.append("the worker is draining")
        room = self._worker.workroom
        if room is not None and room.store.away:
            problems.append("the database does not answer")
        return problems

    def started(self) -> bool:
        """Whether the subscription has been opened."""
        return self._worker.workroom is not None and self._worker.workroom.opened
