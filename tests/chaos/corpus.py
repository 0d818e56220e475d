"""A corpus of hostile job messages: at least 500 kinds, generated, each with the name of what is wrong with it.

Used by the scenario `hostile`. Every message here either can't be a job, or is a job that must end as Errored; none may
succeed. Pub/Sub's own limits are kept (100 attributes, keys of 256 bytes, values of 1,024), for it would refuse others.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from uuid import UUID, uuid4

Message = tuple[str, bytes, dict[str, str]]

GOOD = b'{"seconds": 0}'
WORDS = (
    "", " ", "0", "-1", "1.5", "1e3", "NaN", "null", "None", "true", "[]", "{}", "\u0000", "\u0000x", "\u202e",
    "\ufeff1", "9" * 9, "9" * 10, "9" * 400, "0x10", "1_000", "٣", "²", "१", "+1", "1 ", " 1", "\n1", "1\n",
    "a" * 1024, "é" * 512, "😀" * 256, "' OR 1=1 --", "$(reboot)", "../../etc/passwd", "%s%s%n", "{{7*7}}", "\\x00",
    "\r\n", "\t",
)  # fmt: skip
NO_UUIDS = (
    *WORDS, "0" * 31, "0" * 33, "g" * 32, "00000000-0000-0000-0000-00000000000", "{" + "0" * 30 + "}", "urn:uuid:",
    "urn:uuid:zzzzzzzz-0000-0000-0000-000000000000", "00000000_0000_0000_0000_000000000000",
)  # fmt: skip
NO_NAMES = ("", "\u0000", "a\u0000b", "a\nb", "a\tb", "\u202e", "a" * 201, "\x7f", "\x1b[31m", "\u200b", "\ufeff")
NO_OBJECTS = (
    b"null", b"true", b"0", b"-0.0", b"1e999", b'"text"', b"[]", b"[{}]", b"[[[[]]]]", b"NaN", b"Infinity",
    b"-Infinity", b"{", b"}", b"{]", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{'a':1}", b'{"a":1}{', b'{"a":1} x',
    b"\xff", b"\xfe\xff", b"\x00", b'{"a":"\x00"}', b'{"a":"\xff"}', b'{"a":"\\u0000"}', b'{"\\u0000":1}',
    b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}', b'{"\\ud800":1}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e}',
    b'{"a":01}', b'{"a":.5}', b'{"a":"\n"}', b'{"a":"\\x"}', b"\xef\xbb\xbf{}x", b" ", b"\n", b"\t\t", b"//",
    b"/* */ {}", b"<xml/>", b"a=b", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"[" * 5_000, b'{"a":' * 5_000,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"]", b"9" * 5_000, b'{"a":' + b"9" * 5_000,
)  # fmt: skip
BAD_SECONDS: tuple[object, ...] = (
    "x", "", None, [], {}, [1], {"a": 1}, "1s", "0x1", "NaN!", [[]], "१x", "\u202e", "--1", "1,5", {"seconds": 1},
)  # fmt: skip


def corpus(seed: int) -> list[Message]:
    """All of them, in an order that the seed decides."""
    messages = [*_names(), *_ids(), *_numbers(), *_bodies(), *_versions(), *_tags(), *_params(), *_noise(seed)]
    random.Random(seed).shuffle(messages)
    return messages


def _job(**attributes: str) -> dict[str, str]:
    return {"job_name": "nap", **attributes}


def _names() -> Iterator[Message]:
    yield "no attributes at all", GOOD, {}
    yield "no attributes, no data but one byte", b" ", {}
    for number, name in enumerate(NO_NAMES):
        yield f"name {number}", GOOD, {"job_name": name}
        yield f"name {number}, with ids", GOOD, {"job_name": name, "job_id": str(uuid4())}


def _ids() -> Iterator[Message]:
    for key, (number, value) in itertools.product(("job_id", "orchestration_id"), enumerate(NO_UUIDS)):
        yield f"{key} {number}", GOOD, _job(**{key: value})
    for _ in range(10):
        yield "a job_id that nobody knows, and no data", b"", _job(job_id=str(uuid4()))
        yield "an orchestration that nobody knows, and no count", GOOD, _job(orchestration_id=str(uuid4()))


def _numbers() -> Iterator[Message]:
    bad = [word for word in WORDS if word not in ("0", "9" * 9)]
    for key, (number, value) in itertools.product(("index", "count"), enumerate(bad)):
        other = {"count": "5"} if key == "index" else {"index": "0"}
        yield f"{key} {number}", GOOD, _job(orchestration_id=str(uuid4()), **other, **{key: value})
    for index, count in (("1", "1"), ("5", "5"), ("7", "5"), ("0", "0"), ("999999", "5"), ("1", "0")):
        yield f"index {index} of {count}", GOOD, _job(orchestration_id=str(uuid4()), index=index, count=count)
    for count in ("1000001", "99999999", "999999999"):
        yield f"count {count}", GOOD, _job(orchestration_id=str(uuid4()), index="0", count=count)


def _bodies() -> Iterator[Message]:
    for number, body in enumerate(NO_OBJECTS):
        yield f"body {number}", body, _job()
        yield f"body {number}, one of one", body, _job(orchestration_id=str(uuid4()), index="0", count="1")


def _versions() -> Iterator[Message]:
    for number, value in enumerate(word for word in WORDS):
        yield f"version {number}", GOOD, _job(schema_version=value)


def _tags() -> Iterator[Message]:
    for key in ("", "job_name", "orchestration_id", "outcome", "event_type", "content-type", "ce-id", "ce-", "googx"):
        yield f"tag {key!r}", GOOD, _job(**{f"tag.{key}": "x"})
    yield "a NUL in a tag", GOOD, _job(**{"tag.a": "\u0000"})
    yield "a NUL in a tag's name", GOOD, _job(**{"tag.\u0000": "x"})
    yield "too many tags", GOOD, _job(**{f"tag.t{number}": "x" for number in range(90)})


def _params() -> Iterator[Message]:
    """Objects that the handler's own type refuses, at once and for ever."""
    for number, value in enumerate(BAD_SECONDS):
        yield f"params {number}", json.dumps({"seconds": value}).encode(), _job()
    for depth in (50, 200, 900):
        yield f"params nested {depth} deep", b'{"seconds":' + b"[" * depth + b"]" * depth + b"}", _job()
    yield "params of a megabyte", json.dumps({"seconds": "x" * 1_000_000}).encode(), _job()


def _noise(seed: int) -> Iterator[Message]:
    """Random bytes, and random damage to a good body."""
    chance = random.Random(seed)
    for number in range(120):
        yield f"noise {number}", b"\xff" + chance.randbytes(chance.randrange(1, 400)), _job()
    for number in range(60):
        cut = chance.randrange(1, len(GOOD))
        yield f"cut body {number}", GOOD[:cut], _job(job_id=str(UUID(bytes=chance.randbytes(16))))
