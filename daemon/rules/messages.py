"""The contract of a job message: bytes and attributes in, a JobMessage out, and back.

Used by the pipeline (decode), the relay and every producer (encode). Pure: any input either decodes or raises
DecodeError with a stable reason. Limits of messages are Pub/Sub's own (100 attributes, keys of 256 bytes, values of
1,024 bytes); NUL and JSON rules are Postgres's (see `storable`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid5

from daemon.errors import DecodeError
from daemon.job import JobMessage
from daemon.rules.storable import MAX_DEPTH, depth, holds_nul, is_object, is_too_deep

SCHEMA_VERSION = "1"
MAX_COUNT = 1_000_000
MAX_NAME = 200
NAMESPACE = UUID("6f1c0e3a-5c0b-5d0c-9a55-6b1f7f0c4a11")
TAG_PREFIX = "tag."
MAX_TAGS = 80
RESERVED_TAGS = frozenset(
    {"content-type", "event_type", "orchestration_id", "job_name", "outcome", "traceparent", "tracestate"}
)
RESERVED_TAG_PREFIXES = ("ce-", "goog")

_INSTANCE = ("job_name", "job_id", "orchestration_id", "index", "count")
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_KEY_BYTES = 256 - len(TAG_PREFIX)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def decode(data: bytes, attributes: Mapping[str, str], message_id: str) -> JobMessage:
    """What a message asks for. Raises DecodeError for every message that breaks the contract, and nothing else."""
    if attributes.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise DecodeError("UnknownSchemaVersion", f"schema_version is {attributes['schema_version']!r}, known is 1")
    job_name = _job_name(attributes.get("job_name"))
    orchestration_id = _uuid(attributes, "orchestration_id", _cached_uuid)
    index = _number(attributes, "index", 0)
    count = _number(attributes, "count", None)
    given_id = _uuid(attributes, "job_id")
    job_id = given_id or _derived_id(orchestration_id, index or 0, message_id)
    if orchestration_id is None:
        orchestration_id, count = job_id, 1 if count is None else count
    _check_index(index or 0, count)
    params = _params(data)
    if params is None and given_id is None:
        params = "{}"
    return JobMessage(
        job_name=job_name,
        job_id=job_id,
        orchestration_id=orchestration_id,
        index=index or 0,
        count=count,
        params=params,
        tags=_tags(attributes),
        traceparent=_traceparent(attributes),
        message_id=message_id,
    )


def rejected_instance(data: bytes, attributes: Mapping[str, str]) -> JobMessage | None:
    """The instance that a rejected message speaks of, if it names one: what must be closed for its orchestration.

    None for a message without ids of its own, and for one whose ids, index or name do not decode.
    """
    if "orchestration_id" not in attributes and "job_id" not in attributes:
        return None
    named = {key: value for key, value in attributes.items() if key in _INSTANCE}
    try:
        message = decode(b"{}", named, "")
    except DecodeError:
        return None
    with suppress(DecodeError):
        message = replace(message, tags=_tags(attributes))
    with suppress(DecodeError):
        message = replace(message, params=_params(data) or "{}")
    return message


def encode(message: JobMessage) -> tuple[bytes, dict[str, str]]:
    """Data and attributes of a message; `decode` is its inverse (given the same message id)."""
    attributes = {
        "job_name": message.job_name,
        "job_id": str(message.job_id),
        "orchestration_id": str(message.orchestration_id),
        "index": str(message.index),
        "schema_version": SCHEMA_VERSION,
    }
    if message.count is not None:
        attributes["count"] = str(message.count)
    if message.traceparent:
        attributes["traceparent"] = message.traceparent
    attributes.update({TAG_PREFIX + key: value for key, value in message.tags.items()})
    return (message.params or "").encode(), attributes


def instance_id(orchestration_id: UUID, index: int) -> UUID:
    """The job id of an instance whose producer gave none: the same for every publish of that instance."""
    return uuid5(orchestration_id, str(index))


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises DecodeError (`BadTag`) for tags that the event could not carry."""
    if len(tags) > MAX_TAGS:
        raise DecodeError("BadTag", f"{len(tags)} tags; the limit is {MAX_TAGS}")
    for key, value in tags.items():
        if not key or key in RESERVED_TAGS or key.startswith(RESERVED_TAG_PREFIXES):
            raise DecodeError("BadTag", f"the tag name {key[:100]!r} is empty or reserved")
        if "\x00" in key or "\x00" in value:
            raise DecodeError("BadTag", f"the tag {key[:100]!r} holds a NUL character")
        try:
            fits = len(key.encode()) <= _KEY_BYTES and len(value.encode()) <= 1024
        except UnicodeEncodeError:
            raise DecodeError("BadTag", f"the tag {key[:100]!r} holds half a surrogate pair") from None
        if not fits:
            raise DecodeError("BadTag", f"the tag {key[:100]!r} is over {_KEY_BYTES} bytes, or its value over 1,024")


def check_name(name: str) -> str:
    """A job name that can be stored and carried. Raises DecodeError (`BadJobName`)."""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise DecodeError("BadJobName", f"job_name must be 1 to {MAX_NAME} printable characters")
    return name


def _job_name(value: str | None) -> str:
    if value is None:
        raise DecodeError("NoJobName", "the attribute job_name is missing")
    return check_name(value)


def _parsed_uuid(value: str) -> UUID:
    return UUID(int=int(value.replace("-", ""), 16))  # half the cost of UUID(value), which repeats our checks


_cached_uuid = functools.lru_cache(maxsize=1024)(_parsed_uuid)  # thousands of messages name the same orchestration


def _uuid(attributes: Mapping[str, str], key: str, make: Callable[[str], UUID] = _parsed_uuid) -> UUID | None:
    value = attributes.get(key)
    if value is None:
        return None
    if not _UUID.fullmatch(value):
        raise DecodeError("BadUuid", f"{key} is not a UUID: {value[:100]!r}")
    return make(value)


def _number(attributes: Mapping[str, str], key: str, default: int | None) -> int | None:
    value = attributes.get(key)
    if value is None:
        return default
    if not _NUMBER.fullmatch(value):
        raise DecodeError("BadNumber", f"{key} is not a whole number from 0: {value[:100]!r}")
    return int(value)


def _derived_id(orchestration_id: UUID | None, index: int, message_id: str) -> UUID:
    return uuid5(NAMESPACE, message_id) if orchestration_id is None else instance_id(orchestration_id, index)


def _check_index(index: int, count: int | None) -> None:
    if count is not None and count > MAX_COUNT:
        raise DecodeError("CountTooLarge", f"count is {count}; the limit is {MAX_COUNT}")
    if index >= (MAX_COUNT if count is None else count):
        raise DecodeError("IndexOutOfRange", f"index {index} is not below count {count}")


def _params(data: bytes) -> str | None:
    if not data:
        return None
    try:
        if not is_object(data):
            raise DecodeError("ParamsNotObject", "data is JSON, but not an object")
        if is_too_deep(data):
            raise DecodeError("ParamsTooDeep", f"data nests {depth(data):,} levels deep; the limit is {MAX_DEPTH}")
        text = data.decode()
    except ValueError as error:
        raise DecodeError("InvalidJson", f"data is not JSON: {error}") from None
    if holds_nul(text):
        raise DecodeError("ParamsContainNul", "data holds a NUL character (\\u0000), which Postgres can't store")
    return text


def _tags(attributes: Mapping[str, str]) -> dict[str, str]:
    tags = {key[len(TAG_PREFIX) :]: value for key, value in attributes.items() if key.startswith(TAG_PREFIX)}
    if tags:
        check_tags(tags)
    return tags


def _traceparent(attributes: Mapping[str, str]) -> str | None:
    value = attributes.get("traceparent") or attributes.get("googclient_traceparent")
    return value if value and _TRACEPARENT.fullmatch(value) else None
