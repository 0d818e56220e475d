"""Traces, switched on by the standard OTEL_* variables; without them nothing is imported and nothing is done.

Called by the service (`tracing`) and by the client at kick-off (`producing`, `current_traceparent`). OpenTelemetry is
imported in `spans.py` and `otlp.py`, which are loaded only when they are wanted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, cast
from uuid import UUID

from daemon.errors import StartupError
from daemon.observe import Observer

EXTRA = "pip install 'headcount[otel]'"
_SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing(Observer):
    """What the service holds: an observer to subscribe, to be closed at the end."""

    def close(self, seconds: float = 1.0) -> None:
        """Send what is left, for at most `seconds`."""


class _Otlp(Protocol):
    """What this file uses of `otlp.py`."""

    def exporting(self, revision: str) -> Tracing: ...


class _Spans(Protocol):
    """What this file uses of `spans.py`."""

    def start_producer(self, job_name: str, orchestration_id: UUID, count: int) -> object: ...

    def end_producer(self, span: object, error: BaseException | None) -> None: ...

    def current_traceparent(self) -> str | None: ...


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(name) for name in _SWITCHES)


def tracing(environment: Mapping[str, str], revision: str = "") -> Tracing | None:
    """The worker's tracing, or None when the environment does not ask for it.

    Raises StartupError when it does and the exporter is not installed.
    """
    if not wanted(environment):
        return None
    try:
        otlp = cast(_Otlp, importlib.import_module("daemon.telemetry.otlp"))
    except ImportError as error:
        name = next(name for name in _SWITCHES if environment.get(name))
        raise StartupError(f"{name} is set, but the exporter is not installed ({error.name}).", EXTRA) from error
    return otlp.exporting(revision)


def current_traceparent() -> str | None:
    """The W3C traceparent of the caller's current span, if the program is tracing at all."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    return _spans().current_traceparent()


@contextmanager
def producing(job_name: str, orchestration_id: UUID, count: int) -> Iterator[str | None]:
    """A producer span around a kick-off, of the program's own tracer; yields the traceparent to store and to send."""
    if "opentelemetry.trace" not in sys.modules:
        yield None
        return
    spans = _spans()
    span = spans.start_producer(job_name, orchestration_id, count)
    try:
        yield spans.current_traceparent()
    except BaseException as error:
        spans.end_producer(span, error)
        raise
    spans.end_producer(span, None)


def _spans() -> _Spans:
    return cast(_Spans, importlib.import_module("daemon.telemetry.spans"))
