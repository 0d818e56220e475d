"""Claims, settlements and messages as the worker reports them, and reading a metric back.

Used by the tests of telemetry. Only what a test names is chosen; the rest is one fixed, valid job.
"""

from dataclasses import replace
from uuid import UUID

from daemon.job import Action, Claim, JobError, JobMessage, Kind, Settlement
from daemon.telemetry.metrics import Metrics

JOB = UUID("00000000-0000-4000-8000-000000000001")
ORCHESTRATION = UUID("00000000-0000-4000-8000-000000000002")
WORKER = UUID("00000000-0000-4000-8000-000000000003")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"

CLAIM = Claim(
    job_id=JOB,
    orchestration_id=ORCHESTRATION,
    worker_id=WORKER,
    index=0,
    count=1,
    job_name="thumbnail",
    params="{}",
    attempt=1,
    failures=0,
    losses=0,
    tags={},
    checkpoint=None,
    age=1.0,
    deadline_in=None,
    cause=None,
    traceparent=None,
)
MESSAGE = JobMessage("thumbnail", JOB, ORCHESTRATION, 0, 1, "{}")
COMPLETED = Settlement(JOB, WORKER, 1, Action.COMPLETE, result="null")


def failed(kind: Kind = Kind.RAISED, message: str = "boom", *, final: bool = False, attempt: int = 1) -> Settlement:
    """The settlement of an attempt that failed."""
    action = Action.FAIL if final else Action.RETRY
    return replace(COMPLETED, action=action, attempt=attempt, result=None, error=JobError(kind, message))


def value(metrics: Metrics, series: str, **labels: str) -> float | None:
    """What a series says now; None when it does not exist."""
    return metrics.registry.get_sample_value(series, {"pool": "default", **labels})
