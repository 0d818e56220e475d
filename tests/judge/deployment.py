"""Headcount driven by hand: real Postgres, real Pub/Sub topics, and workers that do one step when they are told to.

Used by the crash histories. A worker here is the store, the pipeline, the relay and the rescuer of a worker process,
without its timers: what a ticker would do in a second is a call. Raw SQL only looks, or makes a state that time would
make (an old heartbeat, a date that has come).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import anyio
import psycopg
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import PullRequest, Subscription
from pydantic import SecretStr

from daemon.dead_letter import PulledMessage
from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.executors import Executor
from daemon.engine.executors.coroutine import CoroutineExecutor
from daemon.engine.executors.thread import ThreadExecutor
from daemon.engine.pipeline import Pipeline
from daemon.engine.relay import Relay
from daemon.engine.rescue import Rescuer
from daemon.engine.runner import HandlerRunner
from daemon.job import StopReason
from daemon.observe import Observer
from daemon.postgres.database import async_engine, sync_engine
from daemon.postgres.outbox import EventOutbox, JobOutbox
from daemon.postgres.rescue import Rescue
from daemon.postgres.store import Store
from daemon.postgres.worker_registration import WorkerRegistration
from daemon.pubsub.connection import subscriber_client
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.puller import Puller
from daemon.pubsub.resources import desired, provision
from daemon.registry import Registry
from daemon.rules.events import encode_event
from daemon.rules.messages import encode
from daemon.settings import Settings

TTL = 30.0
GAP = 12.5
ROUNDS = 20
EVENTS = "events-seen"


@dataclass(eq=False)
class Message:
    """A pulled message, and what was replied to it."""

    pulled: PulledMessage
    replied: str | None = None
    delivery_attempt: int | None = None

    @property
    def data(self) -> bytes:
        return self.pulled.data

    @property
    def attributes(self) -> Any:
        return self.pulled.attributes

    @property
    def message_id(self) -> str:
        return self.pulled.message_id

    @property
    def publish_time(self) -> float:
        return self.pulled.publish_time

    def ack(self) -> None:
        self.replied = self.replied or "ack"

    def nack(self) -> None:
        self.replied = self.replied or "nack"


@dataclass
class Deployment:
    """One database, and for each history topics of its own."""

    database_url: str
    registry: Registry
    project: str = ""
    unanswered: list[str] = field(default_factory=list)  # what was pulled and not acknowledged yet
    events: dict[str, set[str]] = field(default_factory=dict)  # the event ids seen, by orchestration

    @property
    def settings(self) -> Settings:
        return Settings(database_url=SecretStr(self.database_url), project=self.project)

    @property
    def jobs(self) -> str:
        return self.settings.subscription(self.settings.jobs_subscription)

    def begin(self) -> None:
        """Topics and subscriptions that nobody has used yet."""
        self.project = f"judge-{uuid4().hex[:12]}"
        self.unanswered.clear()
        run(self._provision())

    async def _provision(self) -> None:
        settings = self.settings
        await provision(desired(settings))
        client = subscriber_client()
        await client.create_subscription(
            name=settings.subscription(EVENTS), topic=settings.topic(settings.events_topic)
        )
        # Pub/Sub waits for a second before it sends a message again; here time is something that a test lets pass.
        at_once = Subscription(name=self.jobs)
        await client.update_subscription(subscription=at_once, update_mask=FieldMask(paths=["retry_policy"]))
        await client.transport.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query says, on a connection of the test's own."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    async def see_events(self) -> None:
        """Take in the events that were published meanwhile."""
        puller, subscription = Puller(), self.settings.subscription(EVENTS)
        while events := await pulled_at_once(subscription, 100):
            for event in events:
                name = event.attributes["orchestration_id"]
                self.events.setdefault(name, set()).add(event.attributes["ce-id"])
            await puller.acknowledge(subscription, [event.ack_id for event in events])
        await puller.close()

    async def lose_messages(self) -> None:
        """Whatever is in the subscription is gone, as if Pub/Sub had never taken it."""
        puller = Puller()
        while pulled := await pulled_at_once(self.jobs, 100):
            await puller.acknowledge(self.jobs, [one.ack_id for one in pulled])
        await puller.close()

    async def time_passes(self) -> None:
        """Leases of dead workers end, their heartbeats grow old, and every date comes."""
        client = subscriber_client()
        if self.unanswered:
            await client.modify_ack_deadline(subscription=self.jobs, ack_ids=self.unanswered, ack_deadline_seconds=0)
        await client.transport.close()
        self.unanswered.clear()
        self.rows("UPDATE worker SET seen_at = seen_at - interval '1 hour'")
        self.rows("UPDATE job SET publish_at = now() WHERE publish_at > now() AND status = 'InProgress'")
        self.rows("UPDATE orchestration SET event_publish_at = now() WHERE event_publish_at > now()")


@asynccontextmanager
async def started_worker(deployment: Deployment) -> AsyncIterator[Worker]:
    """One worker. What leaves the block by an error is as dead as a killed process: it says no farewell."""
    registrations = sync_engine(deployment.database_url, 1)
    registration = WorkerRegistration(registrations, "judge", "", 10, GAP)
    me = uuid4()
    registration.register(me)
    deployment.rows("UPDATE worker SET regular_since = now() - interval '1 hour' WHERE id = %s", me)
    worker = Worker(deployment, me)
    try:
        async with anyio.create_task_group() as lanes:
            lanes.start_soon(worker.store.run)
            try:
                yield worker
            finally:
                worker.in_flight.ask_to_stop(StopReason.DRAINING)
                lanes.cancel_scope.cancel()
        registration.deregister(me)
    finally:
        registrations.dispose()
        await worker.close()


async def recovered(deployment: Deployment) -> None:
    """What the rest of the fleet does when time has passed: one more worker goes on until nothing is left."""
    await deployment.time_passes()
    async with started_worker(deployment) as worker:
        for _ in range(ROUNDS):
            await worker.rescuer.round()
            await worker.job_relay.publish_due()
            worked = await worker.work(10)
            await worker.event_relay.publish_due()
            if not worked:
                return
    raise AssertionError("the worker never ran out of work")


class Worker:
    """The parts of a worker process that decide what becomes of a job."""

    def __init__(self, deployment: Deployment, me: UUID) -> None:
        settings, observer = deployment.settings, Observer()
        self._deployment = deployment
        self._engine = engine = async_engine(deployment.database_url, 3, hangs_up=True)
        self.in_flight = InFlight()
        self.publisher, self.puller = Publisher(), Puller()
        self.store = Store(engine, lambda: me, TTL, observer, completed=lambda: None, on_unavailable=lambda _away: None)
        limit, slots = settings.result_limit_bytes, settings.slots
        executors: dict[str, Executor] = {
            "async": CoroutineExecutor(limit),
            "thread": ThreadExecutor(limit, slots, self.in_flight, observer, lambda: 0.0),
        }
        runner = HandlerRunner(self.store.progress, executors)
        self.pipeline = Pipeline(self.store, runner, deployment.registry, observer, 300.0, random.Random(1).random)
        jobs, topic = JobOutbox(engine, settings.republish_after_seconds), settings.topic(settings.jobs_topic)
        self.job_relay = Relay("job", jobs, self.publisher, topic, encode, observer)
        events, topic = EventOutbox(engine), settings.topic(settings.events_topic)
        as_event = partial(encode_event, source="//headcount/projects/judge")
        self.event_relay = Relay("event", events, self.publisher, topic, as_event, observer)
        self.rescuer = Rescuer(Rescue(engine, lambda: me, TTL, GAP, settings.max_worker_losses), observer, lambda: None)

    async def work(self, limit: int) -> int:
        """Take up to `limit` messages to their end, one after the other. How many there were."""
        subscription = self._deployment.jobs
        for done in range(limit):
            pulled = await pulled_at_once(subscription, 1)
            if not pulled:
                return done
            message = Message(pulled[0])
            self._deployment.unanswered.append(message.pulled.ack_id)
            attempt = Attempt()
            self.in_flight.add(attempt)
            await self.pipeline.process(message, attempt)
            attempt.handler_done()
            self.in_flight.remove(attempt)
            if message.replied == "ack":
                await self.puller.acknowledge(subscription, [message.pulled.ack_id])
                self._deployment.unanswered.remove(message.pulled.ack_id)
        return limit

    async def close(self) -> None:
        await self.publisher.close()
        await self.puller.close()
        await self._engine.dispose()


async def pulled_at_once(subscription: str, limit: int) -> list[PulledMessage]:
    """What the subscription has at this moment; nothing is waited for, so an empty answer does not depend on time."""
    client = subscriber_client()
    request = PullRequest(subscription=subscription, max_messages=limit, return_immediately=True)
    response = await client.pull(request)
    await client.transport.close()
    return [
        PulledMessage(
            data=one.message.data,
            attributes=dict(one.message.attributes),
            message_id=one.message.message_id,
            publish_time=one.message.publish_time.timestamp(),
            ack_id=one.ack_id,
        )
        for one in response.received_messages
    ]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """On an event loop of its own, as in a process of its own."""
    return asyncio.run(coroutine)
