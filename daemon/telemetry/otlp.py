"""Spans sent to a collector, by OTLP over HTTP; where and how, the OTEL_* variables say.

Loaded by `tracing.py` when they ask for it; importing it fails without the extra `otel`.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from daemon.telemetry.spans import Spans, recording


def exporting(revision: str) -> Spans:
    """Spans that go out in batches, from a thread of the exporter's own, the handlers' own spans among them."""
    spans = recording(BatchSpanProcessor(OTLPSpanExporter()), revision)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # the program has set up none itself
        trace.set_tracer_provider(spans.provider)
    return spans
