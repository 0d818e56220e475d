"""The format of a log line: JSON as Cloud Logging reads it, or a line for people.

Used by `logs.py`. Lines of structlog and of the standard library pass through the same steps; secrets are masked here,
once, whoever wrote the line. Must never raise: a line that cannot be formatted is still written.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from datetime import UTC, datetime

from structlog.typing import EventDict, Processor, WrappedLogger

from daemon.job import Claim
from daemon.telemetry.masking import masked, text_of
from daemon.telemetry.traceparent import is_sampled, span_id, trace_id

CURRENT: ContextVar[Claim | None] = ContextVar("headcount_claim", default=None)
"""The attempt whose handler runs in this context; set and cleared by `Logs`, read for every line."""

LABELS = ("orchestration_id", "job_id", "job_name", "attempt")
ROOT_LOGGER = "headcount"

_SEVERITY = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "critical": "CRITICAL"}


def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The masking step."""
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = masked(key, value)
    return event


def add_claim(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The step that names the running job on lines of a handler and the libraries it calls.

    The worker's own lines name their job themselves: its loops may inherit the context of the job that started them.
    """
    claim = CURRENT.get()
    if claim is not None and event.get("logger") != ROOT_LOGGER:
        event.setdefault("orchestration_id", str(claim.orchestration_id))
        event.setdefault("job_id", str(claim.job_id))
        event.setdefault("job_name", claim.job_name)
        event.setdefault("attempt", claim.attempt)
        event.setdefault("traceparent", claim.traceparent)
    return event


def cloud_format(project: str) -> Processor:
    """The step that renames to Cloud Logging's fields; `project` makes the trace a link."""

    def formatted(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        level = str(event.pop("level", method))
        line: dict[str, object] = {
            "severity": _SEVERITY.get(level, "DEFAULT"),
            "message": str(event.pop("event", "")),
            "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        labels = {key: str(event.pop(key)) for key in LABELS if event.get(key) is not None}
        if labels:
            line["logging.googleapis.com/labels"] = labels
        line.update(_trace(event.pop("traceparent", None), project))
        if "exception" in event:
            line["stack_trace"] = event.pop("exception")
        line.update((key if key not in line else f"{key}_", value) for key, value in event.items())
        return line

    return formatted


def console_format(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The step that leaves out what a person at a terminal does not read."""
    event.pop("traceparent", None)
    event.pop("logger", None)
    event.pop("orchestration_id", None)
    return event


def as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """The last step: one line of JSON."""
    return json.dumps(event, ensure_ascii=False, default=text_of, separators=(",", ":"))


def _trace(traceparent: object, project: str) -> dict[str, object]:
    if not isinstance(traceparent, str):
        return {}
    trace = trace_id(traceparent)
    if trace is None:
        return {}
    name = f"projects/{project}/traces/{trace}" if project else trace
    return {
        "logging.googleapis.com/trace": name,
        "logging.googleapis.com/spanId": span_id(traceparent),
        "logging.googleapis.com/trace_sampled": is_sampled(traceparent),
    }
