"""Laws of stored JSON and text: whatever is accepted, Postgres takes, and a reader gets back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import ResultNotStorable
from daemon.rules.storable import encode_json, holds_nul, safe_str, storable_text
from tests.property.strategies import EVERY_TEXT, JSON_VALUES, MOMENTS, UUIDS

LIMIT = 10_000
HOSTILE = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | EVERY_TEXT
    | st.binary(max_size=5)
    | st.sets(st.integers(), max_size=2)
    | st.decimals()
    | MOMENTS
    | UUIDS
    | st.just(object())
    | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(EVERY_TEXT | st.floats(), inner, max_size=3),
    max_leaves=6,
)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _texts(one)


def _encoded(value: object) -> str | ResultNotStorable:
    try:
        return encode_json(value, LIMIT)
    except ResultNotStorable as error:
        return error


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@given(HOSTILE)
def test_what_is_accepted_can_be_stored(value: object) -> None:
    text = _encoded(value)
    if isinstance(text, ResultNotStorable):
        assert str(text)
        return
    assert len(text.encode()) <= LIMIT
    stored = json.loads(text, parse_constant=_refuse)
    assert not any("\x00" in one for one in _texts(stored))


@given(JSON_VALUES)
def test_json_comes_back_as_it_was(value: object) -> None:
    assert json.loads(encode_json(value, LIMIT)) == value


@given(st.text(alphabet="\\u0z", max_size=14))
def test_an_escaped_nul_is_told_from_an_escaped_backslash(inside: str) -> None:
    text = f'"{inside}"'
    try:
        value = json.loads(text)
    except ValueError:
        return
    assert holds_nul(text) == ("\x00" in value)


@given(st.integers(1, 200))
def test_the_limit_counts_bytes(length: int) -> None:
    text = "\N{SNOWMAN}" * length
    size = 3 * length + 2
    assert len(encode_json(text, size)) == length + 2
    with pytest.raises(ResultNotStorable, match=f"takes {size} bytes"):
        encode_json(text, size - 1)


@given(MOMENTS, UUIDS)
def test_dates_and_ids_become_text(moment: datetime, some: UUID) -> None:
    assert json.loads(encode_json({"at": moment, "id": some}, LIMIT))["id"] == str(some)


@given(st.text(st.characters(codec=None, categories=None), max_size=60), st.integers(0, 50))
def test_any_text_is_made_storable(text: str, limit: int) -> None:
    stored = storable_text(text, limit)
    stored.encode()
    assert "\x00" not in stored
    if len(text) <= limit:
        assert len(stored) == len(text)
    else:
        assert len(stored) <= limit + len(f"\n... {len(text)} characters left out ...\n")
        assert stored.startswith(storable_text(text[: limit // 2], limit))


@given(EVERY_TEXT)
def test_an_exception_is_described_whatever_it_holds(text: str) -> None:
    assert safe_str(ValueError(text)).encode()


def test_an_exception_that_cannot_be_described_is_described() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

    assert "SystemExit" in safe_str(Mute())
