"""A delivery that remembers how it was answered, and the claims, messages and handlers that tests begin with.

Used by the tests of the engine. Only the first reply counts, as with the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from daemon.job import Claim, JobMessage
from daemon.registry import Handler, handler_of, job

JOB = UUID("00000000-0000-4000-8000-000000000001")
ORCHESTRATION = UUID("00000000-0000-4000-8000-000000000002")
WORKER = UUID("00000000-0000-4000-8000-000000000003")

CLAIM = Claim(
    job_id=JOB,
    orchestration_id=ORCHESTRATION,
    worker_id=WORKER,
    index=0,
    count=1,
    job_name="paint",
    params="{}",
    attempt=1,
    failures=0,
    losses=0,
    tags={},
    checkpoint=None,
    age=0.0,
    deadline_in=None,
    cause=None,
    traceparent=None,
)
MESSAGE = JobMessage("paint", JOB, ORCHESTRATION, 0, 1, "{}")


@dataclass(eq=False)
class FakeDelivery:
    """One message. `reply` is "ack", "nack" or None; `on_ack` is called at the first ack."""

    data: bytes = b"{}"
    attributes: dict[str, str] = field(default_factory=lambda: {"job_name": "paint"})
    message_id: str = "1"
    publish_time: float = 0.0
    delivery_attempt: int | None = None
    reply: str | None = None
    on_ack: Callable[[], None] | None = None

    def start(self) -> bool:
        return self.reply is None

    def ack(self) -> None:
        if self.reply is None:
            self.reply = "ack"
            if self.on_ack is not None:
                self.on_ack()

    def nack(self) -> None:
        if self.reply is None:
            self.reply = "nack"


def a_claim(**changes: object) -> Claim:
    """A valid claim of `paint`, with some fields changed."""
    return replace(CLAIM, **changes)  # type: ignore[arg-type]


def a_handler(function: Callable[..., object], name: str = "paint", **terms: object) -> Handler:
    """The handler that discovery would make of a function."""
    return handler_of(job(name, **terms)(function))  # type: ignore[arg-type]
