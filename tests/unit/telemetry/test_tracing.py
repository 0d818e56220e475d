"""Traces: a span per attempt that continues the kick-off's trace, and nothing at all when nobody asked."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from uuid import uuid4

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from daemon.errors import StartupError
from daemon.job import Action
from daemon.telemetry.spans import Spans, current_traceparent, recording
from daemon.telemetry.tracing import producing, tracing, wanted
from tests.unit.telemetry.samples import CLAIM, COMPLETED, JOB, ORCHESTRATION, TRACE, TRACEPARENT, failed

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
TRACED = replace(CLAIM, traceparent=TRACEPARENT)


@pytest.fixture(autouse=True)
def empty_context() -> Iterator[None]:
    before = context.get_current()
    yield
    context.attach(before)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    return recording(SimpleSpanProcessor(exporter), "r7")


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_a_first_attempt_is_a_child_of_the_kick_off(spans: Spans, exporter: InMemorySpanExporter) -> None:
    spans.started(TRACED, 0.25)
    spans.finished(TRACED, COMPLETED, 1.0)

    span = only(exporter)
    assert (span.name, span.kind) == ("job thumbnail", SpanKind.CONSUMER)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert span.attributes == {
        "orchestration_id": str(ORCHESTRATION),
        "job_id": str(JOB),
        "job_name": "thumbnail",
        "attempt": 1,
        "queue_delay_seconds": 0.25,
        "action": "complete",
    }
    assert span.resource.attributes["service.name"] == "headcount"
    assert span.resource.attributes["service.version"] == "r7"


def test_a_later_attempt_is_linked_to_the_kick_off_and_has_a_trace_of_its_own(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    again = replace(TRACED, attempt=2)
    spans.started(again, 0.0)
    spans.finished(again, COMPLETED, 1.0)

    span = only(exporter)
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" != TRACE
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [TRACE]


@pytest.mark.parametrize("traceparent", [None, "", "junk", "00-zz-zz-01"])
def test_without_a_valid_traceparent_an_attempt_begins_a_trace(
    spans: Spans, exporter: InMemorySpanExporter, traceparent: str | None
) -> None:
    claim = replace(CLAIM, traceparent=traceparent)
    spans.started(claim, 0.0)
    spans.finished(claim, COMPLETED, 1.0)
    assert only(exporter).parent is None


@pytest.mark.parametrize(("final", "retried"), [(True, "fail"), (False, "retry")])
def test_a_failed_attempt_is_an_error_with_its_kind(
    spans: Spans, exporter: InMemorySpanExporter, final: bool, retried: str
) -> None:
    spans.started(TRACED, 0.0)
    spans.finished(TRACED, failed(final=final), 1.0)

    span = only(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "Raised: boom"
    assert span.attributes is not None
    assert (span.attributes["error.type"], span.attributes["action"]) == ("Raised", retried)


SECRETS = "password=hunter3 postgresql://u:hunter3@db/x Bearer hunter3hunter3 {'api_key': 'hunter3'}"


def test_a_secret_in_an_error_is_masked_in_a_span_as_in_a_log_line(
    spans: Spans, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans.started(TRACED, 0.0)
    spans.finished(TRACED, failed(message=SECRETS, final=True), 1.0)
    program = TracerProvider(shutdown_on_exit=False)
    program.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", program.get_tracer)
    with pytest.raises(StartupError), producing("thumbnail", ORCHESTRATION, 1):
        raise StartupError(SECRETS)

    attempt, kick_off = exporter.get_finished_spans()
    assert "hunter3" not in attempt.to_json() + kick_off.to_json()
    assert "***" in str(attempt.status.description)
    (event,) = kick_off.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "StartupError"
    assert "***" in str(event.attributes["exception.message"])


def test_an_interrupted_attempt_is_no_error(spans: Spans, exporter: InMemorySpanExporter) -> None:
    spans.started(TRACED, 0.0)
    spans.finished(TRACED, replace(failed(), action=Action.INTERRUPT), 1.0)
    assert only(exporter).status.status_code is StatusCode.UNSET


async def test_spans_of_a_handler_and_of_its_threads_are_children_of_the_attempt(
    spans: Spans, exporter: InMemorySpanExporter
) -> None:
    tracer = spans._tracer

    def in_a_thread() -> None:
        tracer.start_span("thread").end()

    async def pipeline(job: int) -> None:
        claim = replace(TRACED, job_id=uuid4(), attempt=1, job_name=f"job{job}")
        spans.started(claim, 0.0)
        await asyncio.sleep(0)
        tracer.start_span(f"inner of job{job}").end()
        await asyncio.to_thread(in_a_thread)
        spans.finished(claim, COMPLETED, 1.0)

    await asyncio.gather(*(asyncio.create_task(pipeline(number)) for number in range(3)))

    by_id = {span.context.span_id: span.name for span in exporter.get_finished_spans()}
    parents = {
        (span.name, by_id.get(span.parent.span_id)) for span in exporter.get_finished_spans() if span.parent is not None
    }
    for number in range(3):
        assert (f"inner of job{number}", f"job job{number}") in parents
        assert ("thread", f"job job{number}") in parents
    assert current_traceparent() is None, "nothing leaks into the caller's context"


def test_an_attempt_that_never_ran_ends_no_span(spans: Spans, exporter: InMemorySpanExporter) -> None:
    spans.finished(TRACED, COMPLETED, 0.0)
    assert exporter.get_finished_spans() == ()


def test_a_kick_off_has_a_producer_span_whose_traceparent_is_sent(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = TracerProvider()
    program.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", program.get_tracer)
    with producing("thumbnail", ORCHESTRATION, 3) as traceparent:
        assert current_traceparent() == traceparent

    span = only(exporter)
    assert (span.name, span.kind) == ("kick off thumbnail", SpanKind.PRODUCER)
    assert traceparent is not None
    assert traceparent.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert current_traceparent() is None


def test_a_kick_off_that_fails_is_an_error_and_raises(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = TracerProvider()
    program.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", program.get_tracer)
    with pytest.raises(ValueError, match="no"), producing("thumbnail", ORCHESTRATION, 3):
        raise ValueError("no")
    assert only(exporter).status.status_code is StatusCode.ERROR
    assert current_traceparent() is None


def test_without_a_tracer_in_the_program_a_kick_off_has_no_traceparent() -> None:
    with producing("thumbnail", ORCHESTRATION, 1) as traceparent:
        assert traceparent is None


@pytest.mark.parametrize(
    ("environment", "is_wanted"),
    [
        ({}, False),
        (ON, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        (ON | {"OTEL_SDK_DISABLED": "true"}, False),
        (ON | {"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_the_standard_variables_switch_it_on(environment: Mapping[str, str], is_wanted: bool) -> None:
    assert wanted(environment) is is_wanted


def test_switched_off_it_imports_nothing() -> None:
    program = (
        "import sys; from uuid import uuid4; from daemon.telemetry.tracing import *\n"
        "assert tracing({}) is None\n"
        "with producing('a', uuid4(), 1) as parent: assert parent is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_switched_on_without_the_exporter_it_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(StartupError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT.*headcount\[otel\]"):
        tracing(ON)


def test_closing_does_not_wait_for_a_collector_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ON["OTEL_EXPORTER_OTLP_ENDPOINT"])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)  # it would last for the other tests
    subscriber = tracing(ON, "r7")
    assert subscriber is not None
    subscriber.started(TRACED, 0.0)
    subscriber.finished(TRACED, COMPLETED, 1.0)
    loop = asyncio.new_event_loop()
    began = loop.time()
    subscriber.close(0.2)
    assert loop.time() - began < 1
    loop.close()
