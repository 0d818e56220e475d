"""The contract of job messages by example: what a producer may leave out, and what each mistake is called."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest

from daemon.errors import DecodeError
from daemon.rules.messages import MAX_COUNT, MAX_TAGS, NAMESPACE, decode, rejected_instance
from daemon.rules.storable import MAX_DEPTH

O = "00000000-0000-4000-8000-0000000000aa"  # noqa: E741
J = "00000000-0000-4000-8000-0000000000bb"
PAINT = {"job_name": "paint"}


def test_a_name_and_an_object_are_a_complete_message() -> None:
    message = decode(b'{"path": "README.md"}', PAINT, "42")
    assert message.job_id == message.orchestration_id == uuid5(NAMESPACE, "42")
    assert (message.index, message.count, message.carries_params) == (0, 1, True)
    assert message.params == '{"path": "README.md"}'


def test_an_empty_body_without_a_job_id_means_no_params() -> None:
    assert decode(b"", PAINT, "1").params == "{}"
    assert decode(b"", PAINT, "1").params == "{}"


def test_an_empty_body_with_a_job_id_points_at_a_row() -> None:
    message = decode(b"", PAINT | {"job_id": J}, "1")
    assert (message.params, message.carries_params) == (None, False)


def test_an_instance_of_an_orchestration_may_leave_its_id_and_its_count_out() -> None:
    message = decode(b"{}", PAINT | {"orchestration_id": O, "index": "3"}, "1")
    assert (message.job_id, message.count) == (uuid5(UUID(O), "3"), None)


def test_a_lone_job_with_an_id_is_an_orchestration_of_one() -> None:
    message = decode(b"{}", PAINT | {"job_id": J}, "1")
    assert (message.orchestration_id, message.count) == (UUID(J), 1)


def test_tags_and_the_trace_are_taken_along() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    message = decode(b"{}", PAINT | {"tag.customer": "7", "googclient_traceparent": trace, "other": "x"}, "1")
    assert (message.tags, message.traceparent) == ({"customer": "7"}, trace)


def test_a_trace_that_is_none_is_dropped_and_not_a_reason_to_reject() -> None:
    assert decode(b"{}", PAINT | {"traceparent": "nonsense"}, "1").traceparent is None


def test_numbers_are_kept_to_the_letter() -> None:
    assert decode(b'{"n": 1.0000000000000000001}', PAINT, "1").params == '{"n": 1.0000000000000000001}'


BROKEN: dict[str, tuple[bytes, dict[str, str], str]] = {
    "no name": (b"{}", {}, "NoJobName"),
    "an empty name": (b"{}", {"job_name": ""}, "BadJobName"),
    "a name of 201 characters": (b"{}", {"job_name": "x" * 201}, "BadJobName"),
    "a name with a line break": (b"{}", {"job_name": "a\nb"}, "BadJobName"),
    "another schema": (b"{}", PAINT | {"schema_version": "2"}, "UnknownSchemaVersion"),
    "a job id that is none": (b"{}", PAINT | {"job_id": "7"}, "BadUuid"),
    "an empty job id": (b"{}", PAINT | {"job_id": ""}, "BadUuid"),
    "a job id with a sign": (b"{}", PAINT | {"job_id": "+" + "1" * 31}, "BadUuid"),
    "a job id in C's notation": (b"{}", PAINT | {"job_id": "0x" + "1" * 30}, "BadUuid"),
    "a job id in Arabic digits": (b"{}", PAINT | {"job_id": "\u0661" * 32}, "BadUuid"),
    "a negative index": (b"{}", PAINT | {"index": "-1"}, "BadNumber"),
    "an index with a blank": (b"{}", PAINT | {"index": " 1"}, "BadNumber"),
    "an index in Arabic digits": (b"{}", PAINT | {"index": "\u0661"}, "BadNumber"),
    "an index of a hundred digits": (b"{}", PAINT | {"index": "1" * 100}, "BadNumber"),
    "an index beyond the count": (
        b"{}",
        PAINT | {"orchestration_id": O, "index": "2", "count": "2"},
        "IndexOutOfRange",
    ),
    "a count of zero": (b"{}", PAINT | {"count": "0"}, "IndexOutOfRange"),
    "a count beyond the limit": (b"{}", PAINT | {"count": str(MAX_COUNT + 1)}, "CountTooLarge"),
    "a list": (b"[]", PAINT, "ParamsNotObject"),
    "no JSON": (b"{'a': 1}", PAINT, "InvalidJson"),
    "NaN": (b'{"a": NaN}', PAINT, "InvalidJson"),
    "not UTF-8": (b'{"a": "\xff"}', PAINT, "InvalidJson"),
    "half a surrogate pair": (b'{"a": "\\ud800"}', PAINT, "InvalidJson"),
    "brackets without end": (b'{"a":' * 100_000, PAINT, "InvalidJson"),
    "a NUL": (b'{"a": "\\u0000"}', PAINT, "ParamsContainNul"),
    "one level too deep": (b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", PAINT, "ParamsTooDeep"),
    "1,000 levels": (b'{"a":' * 1_000 + b"1" + b"}" * 1_000, PAINT, "ParamsTooDeep"),
    "a reserved tag": (b"{}", PAINT | {"tag.outcome": "x"}, "BadTag"),
    "a tag in CloudEvents' name": (b"{}", PAINT | {"tag.ce-id": "x"}, "BadTag"),
    "a tag without a name": (b"{}", PAINT | {"tag.": "x"}, "BadTag"),
    "a tag that is too long": (b"{}", PAINT | {"tag.x": "\N{SNOWMAN}" * 342}, "BadTag"),
    "too many tags": (b"{}", PAINT | {f"tag.{n}": "" for n in range(MAX_TAGS + 1)}, "BadTag"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_each_mistake_has_a_name_and_an_explanation(mistake: str) -> None:
    data, attributes, reason = BROKEN[mistake]
    with pytest.raises(DecodeError) as caught:
        decode(data, attributes, "1")
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 1000


def test_a_rejected_message_without_ids_stands_for_no_instance() -> None:
    assert rejected_instance(b"[]", PAINT) is None


def test_a_rejected_message_whose_index_does_not_decode_stands_for_no_instance() -> None:
    assert rejected_instance(b"[]", PAINT | {"orchestration_id": O, "index": "x"}) is None


def test_a_rejected_instance_keeps_what_is_good_about_its_message() -> None:
    ids = {"orchestration_id": O, "index": "1", "count": "2"}
    bad_params = rejected_instance(b"[]", PAINT | ids | {"tag.customer": "7"})
    assert bad_params is not None
    assert (bad_params.index, bad_params.count, bad_params.params, bad_params.tags) == (1, 2, "{}", {"customer": "7"})
    bad_tag = rejected_instance(b'{"a":1}', PAINT | ids | {"tag.outcome": "x"})
    assert bad_tag is not None
    assert (bad_tag.params, bad_tag.tags) == ('{"a":1}', {})
