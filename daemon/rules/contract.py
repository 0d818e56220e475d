"""The contract with producers and readers in any language, as JSON Schema and as an AsyncAPI 3 document.

Printed by `headcount asyncapi`, kept as `docs/asyncapi.json`. It says what `messages` decodes and `events` encodes, and
reads their limits there. Pub/Sub's attributes are AsyncAPI's headers.
Sources: AsyncAPI 3.0.0; JSON Schema draft 7, which is AsyncAPI's; CloudEvents 1.0.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.orchestration import Outcome
from daemon.rules.events import EVENT_TYPE
from daemon.rules.messages import MAX_COUNT, MAX_NAME, MAX_TAGS, SCHEMA_VERSION, TAG_PREFIX
from daemon.rules.storable import MAX_DEPTH

Schema = dict[str, object]

UUID_PATTERN = "^[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\\1[0-9a-fA-F]{4}\\1[0-9a-fA-F]{4}\\1[0-9a-fA-F]{12}$"
NUMBER_PATTERN = "^[0-9]{1,9}$"
TRACEPARENT_PATTERN = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
INSTANCE = "4f0a43c2-7a3d-5d0e-9c5e-0c6f6d9f2f11"
ORCHESTRATION = "0b8f5a52-5a0e-4b3f-8a54-3f1d0f4bb0ce"


def job_attributes() -> Schema:
    """The attributes of a job message, all of them text."""
    return {
        "type": "object",
        "required": ["job_name"],
        "properties": {
            "job_name": _text("Which handler runs it.", minLength=1, maxLength=MAX_NAME),
            "job_id": _text(
                "The instance, and its idempotency key. Without it: derived from orchestration_id and index, else from "
                "the message id.",
                pattern=UUID_PATTERN,
            ),
            "orchestration_id": _text("The fan-out. Without it: the job's own id.", pattern=UUID_PATTERN),
            "index": _text("The number of this instance, from 0 (the default).", pattern=NUMBER_PATTERN),
            "count": _text(f"How many instances there are, at most {MAX_COUNT:,}.", pattern=NUMBER_PATTERN),
            "schema_version": _text("The version of this contract.", enum=[SCHEMA_VERSION]),
            "traceparent": _text("W3C trace context.", pattern=TRACEPARENT_PATTERN),
        },
        "patternProperties": {
            f"^{TAG_PREFIX.replace('.', '[.]')}.": _text(
                f"A tag of the orchestration, an attribute of its event. At most {MAX_TAGS}.", maxLength=1024
            )
        },
        "additionalProperties": {"type": "string"},
    }


def job_params() -> Schema:
    """The data of a job message."""
    return {
        "type": "object",
        "description": f"The params of the job. No NUL characters; at most {MAX_DEPTH} levels deep. Empty data: none, "
        "or those of the row that has the job_id.",
    }


def event_attributes() -> Schema:
    """The attributes of a JobCompleted event: CloudEvents in Pub/Sub's binary mode, and what filters match."""
    return _object(
        {
            "ce-specversion": _text("CloudEvents.", enum=["1.0"]),
            "ce-id": _text("The same for every delivery of one generation: deduplicate by it.", format="uuid"),
            "ce-source": _text("The project and topic of the jobs."),
            "ce-type": _text("The type of the event.", enum=[EVENT_TYPE]),
            "ce-time": _text("When the last instance ended.", format="date-time"),
            "ce-subject": _text("The orchestration.", format="uuid"),
            "content-type": _text("Of the data.", enum=["application/json"]),
            "event_type": _text("To filter on.", enum=["JobCompleted"]),
            "orchestration_id": _text("To filter on.", format="uuid"),
            "job_name": _text("To filter on."),
            "outcome": _text("To filter on.", enum=[one.value for one in Outcome]),
        },
        optional={"traceparent": _text("W3C trace context.", pattern=TRACEPARENT_PATTERN)},
        additional={"type": "string", "description": "The tags of the orchestration, without a prefix."},
    )


def event_body() -> Schema:
    """The data of a JobCompleted event."""
    count: Schema = {"type": "integer", "minimum": 0}
    return _object(
        {
            "orchestration_id": _text("The orchestration.", format="uuid"),
            "generation": {"type": "integer", "minimum": 1, "description": "1, and one more for each retry."},
            "job_name": _text("Which handler ran."),
            "outcome": _text("Whether all, some or none completed.", enum=[one.value for one in Outcome]),
            "total": count,
            "completed": count,
            "errored": count,
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "created_at": _text("When its first instance arrived.", format="date-time"),
            "completed_at": _text("When its last instance ended.", format="date-time"),
            "duration_seconds": {"type": "number", "minimum": 0},
        }
    )


def asyncapi(version: str) -> Schema:
    """The whole contract, as an AsyncAPI 3 document of this release."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headcount",
            "version": version,
            "description": "Jobs in by Google Cloud Pub/Sub, and one event out when every instance has ended. Messages "
            "may come in any order and more than once.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "jobs": _channel("jobs", "job", "The topic of the jobs (HEADCOUNT_JOBS_TOPIC)."),
            "events": _channel("job-events", "JobCompleted", "The topic of the events (HEADCOUNT_EVENTS_TOPIC)."),
        },
        "operations": {
            "runJob": _operation("receive", "jobs", "Runs the job, once for each job_id."),
            "publishJobCompleted": _operation("send", "events", "Publishes one event for each generation."),
        },
        "components": {
            "messages": {
                "job": _message("One instance of a job", job_attributes(), job_params(), _JOB),
                "JobCompleted": _message("All instances have ended", event_attributes(), event_body(), None),
            }
        },
    }


_JOB: Schema = {
    "name": "the second of three thumbnails",
    "headers": {
        "job_name": "thumbnail",
        "job_id": INSTANCE,
        "orchestration_id": ORCHESTRATION,
        "index": "1",
        "count": "3",
        "tag.customer": "c-17",
    },
    "payload": {"source": "gs://photos/2.jpg", "sizes": [64]},
}


def _text(description: str, **rules: object) -> Schema:
    return {"type": "string", "description": description, **rules}


def _object(
    required: Mapping[str, Schema], *, optional: Mapping[str, Schema] | None = None, additional: Schema | None = None
) -> Schema:
    schema: Schema = {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}
    return schema if additional is None else {**schema, "additionalProperties": additional}


def _channel(address: str, message: str, description: str) -> Schema:
    reference = {"$ref": f"#/components/messages/{message}"}
    return {"address": address, "description": description, "messages": {message: reference}}


def _operation(action: str, channel: str, summary: str) -> Schema:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(title: str, headers: Schema, payload: Schema, example: Schema | None) -> Schema:
    message: Schema = {"title": title, "headers": headers, "payload": payload}
    return message if example is None else {**message, "examples": [example]}
