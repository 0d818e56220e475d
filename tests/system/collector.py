"""A collector of traces: takes OTLP over HTTP, as any backend does, and keeps the spans in memory.

Used by the tests of tracing. It understands the protocol's own messages (protobuf, gzip or plain) and nothing else.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Seen:
    """A span that arrived, its ids in hex; `links` are (trace, span)."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    is_error: bool

    def is_named_by(self, traceparent: str) -> bool:
        """Whether a `traceparent` names this span, as one that is recorded (other flags may be set beside that)."""
        version, trace, span, flags = traceparent.split("-")
        return (version, trace, span, int(flags, 16) & 1) == ("00", self.trace, self.id, 1)


@dataclass
class Collector:
    """What arrived so far, in the order of its arrival."""

    address: str
    spans: list[Seen] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep a request's spans."""
        with self._lock:
            for batch in request.resource_spans:
                service = _values(batch.resource.attributes)["service.name"]
                self.spans += [_seen(service, span) for scope in batch.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Seen]:
        """The spans of this name."""
        with self._lock:
            return [span for span in self.spans if span.name == name]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of 127.0.0.1."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        server.collector = Collector(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.collector  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/traces" or self.headers["Content-Type"] != PROTOBUF:
            self.send_error(404 if self.path != "/v1/traces" else 415)
            return
        plain = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        self.server.collector.take(ExportTraceServiceRequest.FromString(plain))  # type: ignore[attr-defined]
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", PROTOBUF)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _seen(service: str, span: Span) -> Seen:
    return Seen(
        service,
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        _values(span.attributes),
        span.status.code == Status.STATUS_CODE_ERROR,
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
