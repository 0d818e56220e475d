"""One trace from the producer's request to the event: across a producer's process, Pub/Sub and a worker's process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from google.cloud.pubsub_v1 import SubscriberClient
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from daemon.client import Client
from daemon.engine.attempt import InFlight
from daemon.engine.heartbeat import WorkerId
from daemon.engine.shutdown import Shutdown
from daemon.postgres.database import sync_engine
from daemon.postgres.worker_registration import WorkerRegistration
from daemon.registry import discover
from daemon.rules.shutdown import ShutdownPlan
from daemon.service.runtime import WorkerRuntime
from daemon.settings import load
from daemon.telemetry.spans import recording
from tests.harness.waiting import until
from tests.harness.worker import REPOSITORY, WorkerProcess, worker_environment
from tests.system.collector import Collector, Seen, collecting
from tests.system.commands import typed

HANDLERS = "tests.system.traced_jobs"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as started:
        yield started


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, collector: Collector) -> dict[str, str]:
    """Settings of the worker's process, whose traces go to the collector."""
    own = {"handlers": HANDLERS, "worker_ttl_seconds": 3}
    settings = worker_environment(database_url, project, pubsub, **own)
    typed("provision", environment=settings)
    return {**settings, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "50"}


class Ear:
    """A subscription of its own, and what arrived there."""

    def __init__(self, project: str, topic: str) -> None:
        self._service = SubscriberClient()
        self._path = f"projects/{project}/subscriptions/ear-of-{topic}"
        self._service.create_subscription(name=self._path, topic=f"projects/{project}/topics/{topic}")

    async def next(self, count: int = 1) -> list[dict[str, str]]:
        """The attributes of the next messages."""
        heard: list[dict[str, str]] = []
        async with asyncio.timeout(20):
            while len(heard) < count:
                answer = await asyncio.to_thread(self._service.pull, subscription=self._path, max_messages=count)
                heard += [dict(one.message.attributes) for one in answer.received_messages]
        return heard

    def close(self) -> None:
        self._service.close()


@pytest.fixture
async def jobs(environment: dict[str, str], project: str) -> AsyncIterator[Ear]:
    ear = Ear(project, "jobs")
    yield ear
    ear.close()


@pytest.fixture
async def events(environment: dict[str, str], project: str) -> AsyncIterator[Ear]:
    ear = Ear(project, "job-events")
    yield ear
    ear.close()


async def kicked_off_elsewhere(
    environment: dict[str, str], job_name: str, count: int = 1, params: dict[str, str] | None = None
) -> str:
    """Let another process kick off, inside a span of its own; the orchestration's id."""
    words = (sys.executable, "-m", "tests.system.traced_producer", job_name, json.dumps(params or {}), str(count))
    done = await asyncio.to_thread(
        subprocess.run,
        words,
        cwd=REPOSITORY,
        env={**environment, "OTEL_SERVICE_NAME": "shop"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return str(UUID(done.stdout.strip()))


async def spans_of(collector: Collector, name: str, count: int) -> list[Seen]:
    await until(lambda: len(collector.named(name)) == count, within=20, what=f"{count} spans {name!r}")
    return collector.named(name)


async def test_one_trace_spans_the_request_the_kick_off_the_queue_the_attempts_and_the_event(
    environment: dict[str, str], collector: Collector, jobs: Ear, events: Ear, tmp_path: Path
) -> None:
    async with WorkerProcess(environment, tmp_path):
        orchestration = await kicked_off_elsewhere(environment, "traced", count=3)
        messages, (event,) = await jobs.next(3), await events.next()
        attempts = await spans_of(collector, "job traced", 3)
        inner = await spans_of(collector, "resize", 3)
    (request,) = collector.named("POST /orders")
    (kick_off,) = collector.named("kick off traced")

    assert (request.service, kick_off.service, kick_off.kind) == ("shop", "shop", "PRODUCER")
    assert {(one.service, one.kind) for one in attempts} == {("headcount", "CONSUMER")}
    assert {one.trace for one in collector.spans} == {request.trace}, "one trace, and nothing beside it"
    assert request.parent == ""
    assert kick_off.parent == request.id
    assert all(kick_off.is_named_by(message["traceparent"]) for message in messages)
    assert [one.parent for one in attempts] == [kick_off.id] * 3
    assert {one.parent for one in inner} == {one.id for one in attempts}, "each handler's own span is in its attempt"
    assert event["orchestration_id"] == orchestration
    assert kick_off.is_named_by(event["traceparent"])
    assert {one.attributes["job_id"] for one in attempts} == {message["job_id"] for message in messages}
    assert {one.attributes["orchestration_id"] for one in [kick_off, *attempts]} == {orchestration}
    assert all(0 <= one.attributes["queue_delay_seconds"] < 60 for one in attempts)


async def test_an_attempt_after_a_failure_is_linked_to_the_kick_off_and_the_event_stays_in_its_trace(
    environment: dict[str, str], collector: Collector, jobs: Ear, events: Ear, tmp_path: Path
) -> None:
    async with WorkerProcess(environment, tmp_path):
        await kicked_off_elsewhere(environment, "stumbling")
        messages, (event,) = await jobs.next(2), await events.next()
        first, second = await spans_of(collector, "job stumbling", 2)
    (kick_off,) = collector.named("kick off stumbling")

    assert [one.attributes["attempt"] for one in (first, second)] == [1, 2]
    assert (first.trace, first.parent, first.links) == (kick_off.trace, kick_off.id, [])
    assert (first.is_error, first.attributes["action"], first.attributes["error.type"]) == (True, "retry", "Raised")
    assert second.trace != kick_off.trace
    assert (second.parent, second.links) == ("", [(kick_off.trace, kick_off.id)])
    assert (second.is_error, second.attributes["action"]) == (False, "complete")
    assert [kick_off.is_named_by(message["traceparent"]) for message in messages] == [True, True], "the retry's too"
    assert kick_off.is_named_by(event["traceparent"])


async def test_an_attempt_after_a_redelivery_is_linked_to_the_kick_off(
    environment: dict[str, str], collector: Collector, events: Ear, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with WorkerProcess(environment, tmp_path) as worker:
        await kicked_off_elsewhere(environment, "held", params={"file": str(gate)})
        await until(lambda: 'headcount_slots_used{pool="default"} 1.0' in worker.body_of("/metrics"), within=20)
        worker.kill()
    gate.touch()
    async with WorkerProcess(environment, tmp_path):
        (event,) = await events.next()
        (again,) = await spans_of(collector, "job held", 1)
    (kick_off,) = collector.named("kick off held")

    assert again.attributes["attempt"] == 2
    assert again.trace != kick_off.trace
    assert (again.parent, again.links) == ("", [(kick_off.trace, kick_off.id)])
    assert kick_off.is_named_by(event["traceparent"])


def named(spans: Sequence[ReadableSpan]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


async def test_the_wired_parts_of_a_worker_give_the_same_trace_to_any_exporter(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    program = TracerProvider()
    program.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", program.get_tracer)
    settings, worker_id = load(environment), WorkerId(uuid4())
    engine = sync_engine(settings.database_url.get_secret_value(), 1, settings.database_pooler, timeout=3)
    WorkerRegistration(engine, "here", "r1", settings.slots, 60.0).register(worker_id.id)
    spans = recording(SimpleSpanProcessor(exporter))
    shutdown = Shutdown(ShutdownPlan.of(settings.drain_seconds))
    registry = discover([HANDLERS], REPOSITORY)
    runtime = WorkerRuntime(settings, registry, worker_id, InFlight(), spans, shutdown)
    working = asyncio.create_task(runtime.run())
    async with Client(settings) as client:
        orchestration = await client.kick_off("traced", [{}])
        assert (await orchestration.wait(20)).completed == 1
    shutdown.stop()
    await working
    engine.dispose()

    assert shutdown.error is None
    seen = named(exporter.get_finished_spans())
    kick_off, attempt, inner = seen["kick off traced"], seen["job traced"], seen["resize"]
    assert {span.context.trace_id for span in seen.values()} == {kick_off.context.trace_id}
    assert attempt.parent is not None
    assert attempt.parent.span_id == kick_off.context.span_id
    assert inner.parent is not None
    assert inner.parent.span_id == attempt.context.span_id
