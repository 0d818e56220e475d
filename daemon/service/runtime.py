"""The event loop's side of a worker: every part that lives on it, built and stopped in order.

Made by the service on the loop of its own thread. It decides nothing about jobs.
"""

from __future__ import annotations

import asyncio
import os
import random
from functools import partial

import anyio

from daemon.engine.attempt import InFlight
from daemon.engine.consumer import Consumer
from daemon.engine.dead_letters import DeadLetterConsumer
from daemon.engine.deadlines import DeadlineEnforcer
from daemon.engine.executors import Executor
from daemon.engine.executors.cloud_run_job import CloudRunJobExecutor
from daemon.engine.executors.command import CommandExecutor
from daemon.engine.executors.coroutine import CoroutineExecutor
from daemon.engine.executors.process.executor import ProcessExecutor
from daemon.engine.executors.thread import ThreadExecutor
from daemon.engine.heartbeat import WorkerId
from daemon.engine.intake import Intake
from daemon.engine.memory import MemoryAdmission
from daemon.engine.pipeline import Pipeline
from daemon.engine.relay import Relay
from daemon.engine.rescue import Rescuer
from daemon.engine.resources import Resources
from daemon.engine.runner import HandlerRunner
from daemon.engine.shutdown import Shutdown
from daemon.engine.ticker import Step, Ticker
from daemon.errors import SlotsExhausted
from daemon.job import StopReason
from daemon.machine import memory_limit, memory_of_tree
from daemon.observe import Observer
from daemon.postgres.database import async_engine
from daemon.postgres.dead_letters import DeadLetterStore
from daemon.postgres.outbox import EventOutbox, JobOutbox
from daemon.postgres.permits import Permits
from daemon.postgres.rescue import Rescue
from daemon.postgres.retries import Retries
from daemon.postgres.step_transactions import DatabaseTransactions
from daemon.postgres.store import Store
from daemon.postgres.sweep import Sweeper
from daemon.postgres.terminations import Terminations
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.puller import Puller
from daemon.pubsub.streaming_pull import StreamingPull
from daemon.registry import Registry
from daemon.rules.events import encode_event
from daemon.rules.messages import encode
from daemon.service.cloud_run import CloudRun, connect_cloud_run
from daemon.service.process_pool import process_pool
from daemon.settings import Settings

CONNECTIONS = 3
REGULAR_BEATS = 2.5
STUCK_SECONDS = 10.0
MEMORY_SECONDS = 0.5
MIB = 1024 * 1024


class WorkerRuntime:
    """Everything that lives on the event loop, built on it."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        identity: WorkerId,
        in_flight: InFlight,
        observer: Observer,
        shutdown: Shutdown,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._shutdown = shutdown
        self._stop_begun, self._cut_short = shutdown.events()
        self._in_flight = in_flight
        url, pooler = settings.database_url.get_secret_value(), settings.database_pooler
        shown = settings.log_values
        self._engine = async_engine(
            url, CONNECTIONS, pooler, observer.connection_waited, hangs_up=True, show_values=shown
        )
        self._publisher = Publisher()
        self._puller = Puller()
        self.streaming_pull = self._make_streaming_pull()
        self.intake = Intake(self.streaming_pull, shutdown)
        self._outbox = JobOutbox(self._engine, settings.republish_after_seconds)
        topic = settings.topic(settings.jobs_topic)
        self._job_relay = Relay("job", self._outbox, self._publisher, topic, encode, observer)
        topic = settings.topic(settings.events_topic)
        encode_ours = partial(encode_event, source=f"//headcount/projects/{settings.project}")
        events = EventOutbox(self._engine)
        self._event_relay = Relay("event", events, self._publisher, topic, encode_ours, observer)
        self._jobs = Ticker("relay-jobs", 1.0, self._job_relay.publish_due, observer)
        self._permits_store = Permits(self._engine)
        self._permits = Ticker("permits", 1.0, self._wake_waiting, observer)
        self._events = Ticker("relay-events", 1.0, self._event_relay.publish_due, observer)
        self.store = self._make_store(identity, registry)
        self._cloud_run: CloudRun | None = None
        self._processes = process_pool(settings, registry, observer)
        self._memory_limit = settings.memory_limit_mib * MIB or memory_limit()
        self._memory = self._make_memory_admission()
        self.consumer = self._make_consumer(registry)
        self._tickers = self._make_tickers(identity)
        self.opened = False

    async def run(self) -> None:
        """Work until a stop begins, then drain."""
        try:
            async with self._resources.opened(), anyio.create_task_group() as loops:
                loops.start_soon(self.store.run)
                loops.start_soon(self._processes.run)
                for ticker in self._tickers:
                    loops.start_soon(ticker.run)
                await self.streaming_pull.open(self.consumer.receive, self._shutdown.fail)
                self.opened = True
                await self._stop_begun.wait()
                await self._drain()
                loops.cancel_scope.cancel()
        finally:
            self._in_flight.ask_to_stop(StopReason.DRAINING)  # whatever ended this work, its loop is closed next
            await self._publisher.close()
            await self._puller.close()
            if self._cloud_run is not None:
                await self._cloud_run.close()
            await self._transactions.close()
            await self._engine.dispose()

    async def _drain(self) -> None:
        began = asyncio.get_running_loop().time()
        self._observer.draining(self.consumer.busy, self._settings.drain_seconds)
        plan = self._shutdown.plan
        interrupted = await self.consumer.drain(plan.cancel_at, plan.settled_by - plan.cancel_at, self._cut_short)
        try:
            async with asyncio.timeout(plan.flushed_by - plan.settled_by):
                await self._job_relay.publish_due()
                await self._event_relay.publish_due()
        except Exception as error:  # another worker's relay publishes what is left
            self._observer.background_loop_failed("drain", error, 0.0)
        await self.streaming_pull.close(plan.replied_by - plan.flushed_by)
        await self._processes.close()
        self._observer.drained(interrupted, asyncio.get_running_loop().time() - began)

    def _make_streaming_pull(self) -> StreamingPull:
        settings = self._settings
        return StreamingPull(
            settings.subscription(settings.jobs_subscription),
            streams=settings.streams,
            window=settings.buffer_timeout_seconds,
            slots=settings.slots,
            prefetch=settings.prefetch_limit,
            busy=lambda: self.consumer.busy,
            lease_seconds=settings.lease_seconds,
            observer=self._observer,
        )

    def _make_store(self, identity: WorkerId, registry: Registry) -> Store:
        return Store(
            self._engine,
            lambda: identity.id,
            self._settings.worker_ttl_seconds,
            self._observer,
            completed=self._events.wake,
            released=self._permits.wake,
            limits=registry.limits,
            on_unavailable=self.intake.stall,
        )

    def _make_memory_admission(self) -> MemoryAdmission:
        return MemoryAdmission(
            self._memory_limit,
            partial(memory_of_tree, os.getpid()),
            self._processes,
            self._in_flight,
            self._observer,
            self.intake.stall,
            self._settings.buffer_timeout_seconds,
        )

    def _make_consumer(self, registry: Registry) -> Consumer:
        settings = self._settings
        limit, slots = settings.result_limit_bytes, settings.slots
        plan, recorder = self._shutdown.plan, self.store.progress
        executors: dict[str, Executor] = {
            "async": CoroutineExecutor(limit),
            "thread": ThreadExecutor(limit, slots, self._in_flight, self._observer, self._shutdown.exit_in),
            "process": ProcessExecutor(self._processes, recorder, until_alone=self._memory.until_alone),
            "command": CommandExecutor(limit, recorder, os.environ, (plan.settled_by - plan.cancel_at) / 2),
        }
        if any(handler.executor == "cloud_run_job" for handler in registry):
            self._cloud_run = connect_cloud_run()
            executors["cloud_run_job"] = CloudRunJobExecutor(limit, recorder, self._cloud_run)
        self._resources = Resources((one for one in registry if one.executor != "process"), registry.lifespans)
        self._transactions = DatabaseTransactions(
            settings.database_url.get_secret_value(),
            settings.step_connections,
            settings.step_statement_timeout_seconds,
            settings.database_pooler,
            show_values=settings.log_values,
        )
        runner = HandlerRunner(
            recorder,
            executors,
            steps=self.store.steps,
            transactions=self._transactions,
            resources=self._resources.of,
            show_values=settings.log_values,
        )
        grace = settings.unknown_job_grace_seconds
        places = {"process": self._processes.slots}
        return Consumer(
            Pipeline(
                self.store, runner, registry, self._observer, grace, random.random, places=places, memory=self._memory
            ),
            self._in_flight,
            slots,
            settings.buffer_timeout_seconds,
            self._observer,
            on_buffer_timeout=self.streaming_pull.waited_in_vain,
        )

    def _make_tickers(self, identity: WorkerId) -> list[Ticker]:
        settings = self._settings
        beat = settings.heartbeat_seconds
        rescue = Rescue(
            self._engine,
            lambda: identity.id,
            settings.worker_ttl_seconds,
            beat * REGULAR_BEATS,
            settings.max_worker_losses,
        )
        wake = self._events.wake
        rescuer = Rescuer(rescue, self._observer, wake)
        deadlines = DeadlineEnforcer(Terminations(self._engine), self._observer, wake)
        letters = DeadLetterConsumer(
            self._puller,
            DeadLetterStore(self._engine),
            settings.subscription(settings.dead_letter_subscription),
            settings.subscription(settings.jobs_subscription),
            self._observer,
        )
        steps: dict[str, tuple[float, Step]] = {
            "progress": (0.5, self.store.progress.flush),
            "buffer": (1.0, self.consumer.nack_overdue),
            "rescue": (beat / 2, rescuer.round),
            "backlog": (5.0, self._report_backlog),
            "stuck": (STUCK_SECONDS, self._report_stuck),
            "deadlines": (1.0, deadlines.enforce),
            "retries": (5.0, Retries(self._engine).continue_abandoned),
            "dead-letters": (10.0, letters.consume),
        }
        if self._memory_limit is not None:
            steps["memory"] = (MEMORY_SECONDS, self._memory.look)
        if settings.sweep_interval_seconds:
            steps["sweep"] = (settings.sweep_interval_seconds, Sweeper(self._engine, self._observer, wake).sweep)
        own = (self._events, self._jobs, self._permits)
        return [*own, *(Ticker(name, pause, step, self._observer) for name, (pause, step) in steps.items())]

    async def _wake_waiting(self) -> None:
        if await self._permits_store.wake():
            self._jobs.wake()

    async def _report_backlog(self) -> None:
        backlog = await self._outbox.backlog()
        self._observer.backlog(backlog.due, backlog.oldest)
        self._observer.events_refused(backlog.refused_events)
        self._observer.unfinished(backlog.unfinished, backlog.oldest_unfinished)

    async def _report_stuck(self) -> None:
        for claim, seconds in self._in_flight.stuck(STUCK_SECONDS):
            self._observer.handler_stuck(claim, seconds)
        stuck = self._in_flight.stuck_threads(STUCK_SECONDS)
        if 2 * stuck >= self._settings.slots:
            self._shutdown.fail(SlotsExhausted(stuck, self._settings.slots))
