"""JSON that Postgres can hold: the one encoder of results, checkpoints and params.

Called by the runner, the context and the client. The rules come from PostgreSQL's json type (no NUL character, no lone
surrogate, UTF-8) and from RFC 8259 (no NaN, no Infinity).
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate

import orjson
from pydantic import JsonValue, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from daemon.errors import ResultNotStorable
from daemon.rules.secret_values import STARS, refuse_secrets, revealed

_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_TEXT_LIMIT = 20_000
MAX_DEPTH = 200
"""The levels that pydantic reads; orjson reads 1,024, and Python's own parser as many as its stack has frames left."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.S)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - set(_STEP))


def holds_nul(text: str) -> bool:
    """Whether JSON text holds an escaped NUL, which Postgres refuses to turn into text."""
    return "\\u0000" in text and _ESCAPED_NUL.search(text) is not None


def encode_json(
    value: object, limit_bytes: int, kind: TypeAdapter[object] | None = None, *, reveals: bool = False
) -> str:
    """A value as JSON text. Anything pydantic can dump is accepted: models, dataclasses, dates, UUIDs, sets.

    With `kind` it is dumped as that type says. A secret (SecretStr and the like) is refused, because its dump is stars;
    with `reveals`, its value is taken. Raises ResultNotStorable for it, and when the value is not JSON (NaN included),
    holds a NUL or a lone surrogate, nests too deeply, or takes more than `limit_bytes` bytes.
    """
    try:
        if kind is None:
            plain = to_jsonable_python(value, inf_nan_mode="constants")
        else:
            plain = kind.dump_python(value, mode="json", by_alias=True, warnings=False)
        if reveals:
            plain = revealed(plain, value)
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
        if STARS in text and not reveals:
            refuse_secrets(value)
    except ResultNotStorable:
        raise
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise ResultNotStorable(f"not JSON that can be stored: {safe_str(error)}") from None
    except Exception as error:
        raise ResultNotStorable(f"encoding it to JSON raised {type(error).__name__}") from error
    if holds_nul(text):
        raise ResultNotStorable("it holds a NUL character (\\u0000), which Postgres can't store")
    if size > limit_bytes:
        raise ResultNotStorable(f"it takes {size} bytes as JSON; the limit is {limit_bytes}")
    return text


def is_object(raw: bytes) -> bool:
    """Whether bytes are a JSON object. Raises ValueError with the parser's words when they are not JSON at all."""
    return isinstance(orjson.loads(raw), dict)


def depth(raw: bytes) -> int:
    """How many levels well-formed JSON nests: 0 for a number, 1 for `{}`, 2 for `{"a": []}`."""
    bare = _STRING.sub(b"", raw) if b'"' in raw else raw
    steps = bare.translate(None, delete=_NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, steps)), default=0)


def is_too_deep(raw: bytes) -> bool:
    """Whether JSON nests over MAX_DEPTH levels; two counts are enough to tell for nearly all."""
    return raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and depth(raw) > MAX_DEPTH


def parsed(text: str) -> JsonValue:
    """Stored JSON as a value. Over MAX_DEPTH levels (only rows that older releases accepted) it is the text itself."""
    if is_too_deep(text.encode()):
        return text
    value: JsonValue = json.loads(text)
    return value


def finite(number: float | None) -> float | None:
    """A number as a finite float, None for NaN and infinity. Raises TypeError or ValueError for what is not one."""
    value = None if number is None else float(number)
    return value if value is not None and math.isfinite(value) else None


def storable_text(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Text made fit for a Postgres text column: NULs and lone surrogates replaced, `limit` characters kept."""
    clean = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
    if len(clean) <= limit:
        return clean
    half = limit // 2
    return f"{clean[:half]}\n... {len(clean) - 2 * half} characters left out ...\n{clean[len(clean) - half :]}"


def safe_str(error: BaseException) -> str:
    """An exception's text, even when its own `str()` raises."""
    try:
        text = str(error)
    except BaseException as second:  # an exception in its `__str__` must not end the worker
        text = f"(its text cannot be read: str() raised {type(second).__name__})"
    return storable_text(text or type(error).__name__)
