"""When each step of an orderly stop happens: one schedule, made from the one setting that shapes it.

Read by the main thread (heartbeat and exit) and by the event loop (drain). Cloud Run sends SIGTERM and kills ten
seconds later; a crowded machine needs the last of them.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_DRAIN = 8.0
DEREGISTER_AT, REPLIED_BY = 7.7, 8.2  # at the earliest: only a loop that hangs is still there by then
EXIT_AT = 8.7
KILL_AT = 8.8


@dataclass(frozen=True, slots=True)
class ShutdownPlan:
    """Seconds since the stop began, in the order in which they come.

    `cancel_at`: handlers that still run are cancelled. `settled_by`: their interruptions are stored. `flushed_by`: what
    is due was published. `deregister_at`: whatever the event loop did, the worker's row goes, and what it holds is
    freed. `replied_by`: what could not be acked by then is redelivered. `exit_at`: the process ends itself.
    `kill_at`: it is ended by a timer that needs no interpreter.
    """

    cancel_at: float
    settled_by: float
    flushed_by: float
    deregister_at: float
    replied_by: float
    exit_at: float = EXIT_AT
    kill_at: float = KILL_AT

    @classmethod
    def of(cls, drain_seconds: float) -> ShutdownPlan:
        """The plan for handlers that may go on for `drain_seconds`, from 0 to LONGEST_DRAIN: the rest is shared out."""
        if not 0 <= drain_seconds <= LONGEST_DRAIN:
            raise ValueError(f"drain_seconds must be from 0 to {LONGEST_DRAIN:g}, not {drain_seconds:g}")
        rest = min(EXIT_AT - drain_seconds, EXIT_AT - 6.0)
        cancel_at = drain_seconds
        return cls(
            cancel_at=cancel_at,
            settled_by=cancel_at + rest * 0.37,
            flushed_by=cancel_at + rest * 0.52,
            deregister_at=max(cancel_at + rest * 0.63, DEREGISTER_AT),
            replied_by=max(cancel_at + rest * 0.81, REPLIED_BY),
        )
