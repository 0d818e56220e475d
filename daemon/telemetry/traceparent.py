"""The trace id inside a W3C `traceparent` (00-<32 hex trace id>-<16 hex span id>-<flags>).

Called for exemplars and log lines, per job, so it only slices; must not import OpenTelemetry.
"""

from __future__ import annotations

_HEX = frozenset("0123456789abcdef")
_NONE = "0" * 32


def trace_id(traceparent: str | None) -> str | None:
    """The 32 hex digits of the trace, or None when there is no valid one."""
    if traceparent is None or len(traceparent) < 55 or traceparent[2] != "-" or traceparent[35] != "-":
        return None
    trace = traceparent[3:35]
    return trace if _HEX.issuperset(trace) and trace != _NONE else None


def span_id(traceparent: str) -> str:
    """The 16 hex digits of the span, of a `traceparent` that has a trace id."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Whether the first flag is set, of a `traceparent` that has a trace id; other flags may be set beside it."""
    return traceparent[54] in "13579bdf"
