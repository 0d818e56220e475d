"""Traces, switched on by the standard OTEL_* variables; without them nothing is imported and nothing is done.

Called by the service (`tracing`) and by the client at kick-off (`producing`). OpenTelemetry is imported by `spans.py`,
which is loaded here only when it is wanted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.errors import StartupError

if TYPE_CHECKING:
    from daemon.telemetry.spans import Spans

EXTRA = "pip install 'headcount[otel]'"
_SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(name) for name in _SWITCHES)


def tracing(environment: Mapping[str, str], revision: str = "") -> Spans | None:
    """The worker's tracing, or None when the environment does not ask for it.

    Raises StartupError when it does and the exporter is not installed.
    """
    if not wanted(environment):
        return None
    try:
        from daemon.telemetry.spans import exporting

        return exporting(revision)
    except ImportError as error:
        name = next(name for name in _SWITCHES if environment.get(name))
        raise StartupError(f"{name} is set, but the exporter is not installed ({error.name}).", EXTRA) from error


def producing(job_name: str, orchestration_id: UUID, count: int) -> AbstractContextManager[str | None]:
    """A producer span around a kick-off, of the program's own tracer; yields the traceparent to store and to send."""
    if "opentelemetry.trace" not in sys.modules:
        return nullcontext()
    from daemon.telemetry.spans import producer_span

    return producer_span(job_name, orchestration_id, count)
