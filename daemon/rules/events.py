"""The JobCompleted event: CloudEvents 1.0 in Pub/Sub's binary mode (attributes `ce-*`, JSON data).

Called by the relay, and by clients that read events. Deterministic: as long as the orchestration is kept, the same
generation of it gives the same bytes and the same `ce-id`, so that a repeated publish is recognisable. Once it
is pruned nothing is known about it: the same ids kicked off anew give the same `ce-id` with other times.
Source of the attribute names: CloudEvents 1.0.2, Google Cloud Pub/Sub protocol binding.
"""

from __future__ import annotations

from uuid import UUID, uuid5

import orjson

from daemon.orchestration import CompletedOrchestration

EVENT_TYPE = "dev.headcount.JobCompleted.v1"


def event_id(orchestration_id: UUID, generation: int) -> UUID:
    """The id of the event of this generation: the same forever."""
    return uuid5(orchestration_id, f"JobCompleted/{generation}")


def encode_event(done: CompletedOrchestration, source: str) -> tuple[bytes, dict[str, str]]:
    """The body and the attributes of the event."""
    return event_body(done), event_attributes(done, source)


def event_attributes(done: CompletedOrchestration, source: str) -> dict[str, str]:
    """The attributes of the event: tags first, so that no tag can overwrite a reserved one."""
    attributes = {
        **done.tags,
        "ce-specversion": "1.0",
        "ce-id": str(event_id(done.id, done.generation)),
        "ce-source": source,
        "ce-type": EVENT_TYPE,
        "ce-time": done.completed_at.isoformat(),
        "ce-subject": str(done.id),
        "content-type": "application/json",
        "event_type": "JobCompleted",
        "orchestration_id": str(done.id),
        "job_name": done.job_name,
        "outcome": done.outcome.value,
    }
    if done.traceparent:
        attributes["traceparent"] = done.traceparent
    return attributes


def event_body(done: CompletedOrchestration) -> bytes:
    """The data of the event. `duration_seconds` is from the first instance's arrival to the last one's end."""
    return orjson.dumps(
        {
            "orchestration_id": str(done.id),
            "generation": done.generation,
            "job_name": done.job_name,
            "outcome": done.outcome.value,
            "total": done.total,
            "completed": done.completed,
            "errored": done.errored,
            "tags": dict(done.tags),
            "created_at": done.created_at.isoformat(),
            "completed_at": done.completed_at.isoformat(),
            "duration_seconds": round((done.completed_at - done.created_at).total_seconds(), 6),
        }
    )
