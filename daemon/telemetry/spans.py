"""The spans themselves: a consumer span per attempt, a producer span per kick-off.

Loaded by `tracing.py` when traces are wanted. `started` and `finished` must be called in the context that runs the
handler: that is how the handler's own spans find their parent.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from uuid import UUID

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from daemon.job import Action, Claim, Settlement
from daemon.observe import Observer
from daemon.telemetry.masking import mask_text, text_of

TRACER = "headcount"
UNENDED_LIMIT = 20_000

_w3c = TraceContextTextMapPropagator()


class Spans(Observer):
    """Makes a span of each attempt. The first attempt continues the kick-off's trace; a later one is linked to it."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer(TRACER, version("headcount"))
        self._running: dict[tuple[UUID, int], tuple[Span, Context]] = {}

    def started(self, claim: Claim, queued: float) -> None:
        origin = _w3c.extract({"traceparent": claim.traceparent} if claim.traceparent else {}, Context())
        again = claim.attempt > 1
        links = [Link(trace.get_current_span(origin).get_span_context())] if again and claim.traceparent else []
        span = self._tracer.start_span(
            f"job {claim.job_name}",
            context=Context() if again else origin,
            kind=SpanKind.CONSUMER,
            links=links,
            attributes={
                "orchestration_id": str(claim.orchestration_id),
                "job_id": str(claim.job_id),
                "job_name": claim.job_name,
                "attempt": claim.attempt,
                "queue_delay_seconds": queued,
            },
        )
        before = context.get_current()
        context.attach(trace.set_span_in_context(span, before))
        if len(self._running) < UNENDED_LIMIT:
            self._running[claim.job_id, claim.attempt] = (span, before)

    def finished(self, claim: Claim, settlement: Settlement, seconds: float) -> None:
        running = self._running.pop((claim.job_id, claim.attempt), None)
        if running is None:
            return
        span, before = running
        span.set_attribute("action", settlement.action.value)
        error = settlement.error
        if error is not None and settlement.action in (Action.FAIL, Action.RETRY):
            span.set_attribute("error.type", error.kind.value)
            span.set_status(StatusCode.ERROR, mask_text(f"{error.kind.value}: {error.message}")[:1024])
        span.end()
        context.attach(before)

    def close(self, seconds: float = 1.0) -> None:
        """Send what is left, for at most `seconds`: an exporter that hangs must not hold up the end."""
        flushing = threading.Thread(target=self.provider.shutdown, name="headcount-last-spans", daemon=True)
        flushing.start()
        flushing.join(seconds)


def recording(processor: SpanProcessor, revision: str = "") -> Spans:
    """Spans given to any processor."""
    provider = TracerProvider(resource=_resource(revision), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return Spans(provider)


def exporting(revision: str) -> Spans:
    """Spans sent to a collector in batches, from a thread of the exporter's own, the handlers' own spans among them.

    Where and how, the OTEL_* variables say. Raises ImportError without the extra `otel`.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    spans = recording(BatchSpanProcessor(OTLPSpanExporter()), revision)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # the program has set up none itself
        trace.set_tracer_provider(spans.provider)
    return spans


@contextmanager
def producer_span(job_name: str, orchestration_id: UUID, count: int) -> Iterator[str | None]:
    """The span of a kick-off, of the tracer that the program has set up, current meanwhile; yields its traceparent."""
    before = context.get_current()
    span = trace.get_tracer(TRACER).start_span(
        f"kick off {job_name}",
        kind=SpanKind.PRODUCER,
        attributes={"orchestration_id": str(orchestration_id), "job_name": job_name, "count": count},
    )
    context.attach(trace.set_span_in_context(span, before))
    try:
        yield current_traceparent()
    except BaseException as error:
        span.add_event("exception", _attributes(error))
        span.set_status(StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        span.end()
        context.attach(before)


def current_traceparent() -> str | None:
    """The traceparent of the current span, None without a valid one."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get("traceparent")


def _attributes(error: BaseException) -> dict[str, str]:
    """An exception under the names of OpenTelemetry's conventions, masked as in a log line."""
    lines = traceback.format_exception(error)
    return {
        "exception.type": type(error).__qualname__,
        "exception.message": mask_text(text_of(error)),
        "exception.stacktrace": mask_text("".join(lines)),
    }


def _resource(revision: str) -> Resource:
    given = Resource.create({SERVICE_VERSION: revision or version("headcount")})
    named = not str(given.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return given if named else given.merge(Resource({SERVICE_NAME: "headcount"}))
