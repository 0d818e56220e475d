"""Laws of job messages: what encodes decodes, what breaks the contract says so, and ids converge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import DecodeError
from daemon.job import JobMessage
from daemon.rules.messages import MAX_COUNT, check_tags, decode, encode, instance_id, rejected_instance
from daemon.rules.storable import holds_nul
from tests.property.strategies import ATTRIBUTES, BODIES, EVERY_TEXT, NAMES, TAGS, UUIDS, messages

T = TypeVar("T")
REASONS = {
    "UnknownSchemaVersion",
    "NoJobName",
    "BadJobName",
    "BadUuid",
    "BadNumber",
    "CountTooLarge",
    "IndexOutOfRange",
    "ParamsNotObject",
    "InvalidJson",
    "ParamsContainNul",
    "ParamsTooDeep",
    "BadTag",
}


@given(messages())
def test_decoding_undoes_encoding(message: JobMessage) -> None:
    assert decode(*encode(message), message.message_id) == message


@given(messages())
def test_an_encoded_message_fits_into_pubsub(message: JobMessage) -> None:
    _, attributes = encode(message)
    assert len(attributes) <= 100
    assert all(0 < len(key.encode()) <= 256 and len(value.encode()) <= 1024 for key, value in attributes.items())


@given(BODIES, ATTRIBUTES)
def test_any_message_decodes_or_says_what_is_wrong(data: bytes, attributes: dict[str, str]) -> None:
    decoded = _answer(lambda: decode(data, attributes, "1"))
    if isinstance(decoded, DecodeError):
        assert decoded.reason in REASONS
        assert str(decoded)
    else:
        _obeys_the_limits(decoded)


def _answer(ask: Callable[[], T]) -> T | DecodeError:
    try:
        return ask()
    except DecodeError as error:
        return error


def _obeys_the_limits(message: JobMessage) -> None:
    assert 1 <= len(message.job_name) <= 200
    assert 0 <= message.index < (message.count or MAX_COUNT)
    assert message.count is None or message.count <= MAX_COUNT
    assert message.carries_params == (message.params is not None)
    if message.params is not None:
        message.params.encode()
        assert message.params.lstrip()[0] == "{"
        assert not holds_nul(message.params)
    check_tags(message.tags)


@given(BODIES, ATTRIBUTES)
def test_a_rejected_message_names_an_instance_or_none(data: bytes, attributes: dict[str, str]) -> None:
    instance = rejected_instance(data, attributes)
    if instance is not None:
        _obeys_the_limits(instance)
        assert "job_id" in attributes or "orchestration_id" in attributes


@given(messages().filter(lambda message: message.carries_params))
def test_a_rejected_instance_is_the_one_that_would_have_run(message: JobMessage) -> None:
    data, attributes = encode(message)
    good = decode(data, attributes, "1")
    bad = rejected_instance(b"no JSON", attributes | {"schema_version": "2"})
    assert bad is not None
    assert replace(bad, params=good.params, traceparent=good.traceparent, message_id="1") == good


@given(NAMES, st.text(max_size=20), st.text(max_size=20))
def test_a_message_without_ids_keeps_its_job_over_redeliveries(name: str, one: str, other: str) -> None:
    first, again = decode(b"{}", {"job_name": name}, one), decode(b"{}", {"job_name": name}, one)
    assert first.job_id == again.job_id == first.orchestration_id
    assert (decode(b"{}", {"job_name": name}, other).job_id == first.job_id) == (one == other)


@given(UUIDS, st.integers(0, 999), st.integers(0, 999))
def test_an_instance_published_twice_is_one_job(orchestration: UUID, index: int, other: int) -> None:
    attributes = {"job_name": "paint", "orchestration_id": str(orchestration), "count": "1000"}
    first = decode(b"{}", attributes | {"index": str(index)}, "1")
    again = decode(b"{}", attributes | {"index": str(index)}, "2")
    assert first.job_id == again.job_id == instance_id(orchestration, index)
    assert (decode(b"{}", attributes | {"index": str(other)}, "3").job_id == first.job_id) == (index == other)


@given(st.dictionaries(EVERY_TEXT, EVERY_TEXT, max_size=3) | TAGS)
def test_tags_that_are_let_in_can_be_stored_and_carried(tags: dict[str, str]) -> None:
    refusal = _answer(lambda: check_tags(tags))
    if refusal is not None:
        assert refusal.reason == "BadTag"
        return
    for key, value in tags.items():
        assert 0 < len(f"tag.{key}".encode()) <= 256
        assert len(value.encode()) <= 1024
        assert "\x00" not in key + value
