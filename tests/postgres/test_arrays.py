"""Columns as binary arrays: Postgres reads what was given, whatever it holds; what it can't hold is an error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.postgres import arrays
from daemon.postgres.arrays import Floats, Ints, Texts, Tokens, Uuids
from daemon.postgres.database import is_bad_item

EACH = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STORABLE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
Link = psycopg.Connection[tuple[list[object]]]


@pytest.fixture
def link(scene_url: str) -> Iterator[Link]:
    with psycopg.connect(scene_url) as connection:
        arrays.register(connection.adapters)
        yield connection


def _seen(link: Link, column: object, name: str) -> list[object]:
    row = link.execute(f"SELECT %s::{name}[]".encode(), [column]).fetchone()
    assert row is not None
    return row[0]


@EACH
@given(st.lists(st.none() | st.uuids()))
def test_uuids_arrive_as_they_were_sent(link: Link, values: list[UUID | None]) -> None:
    assert _seen(link, Uuids(values), "uuid") == values


@EACH
@given(st.lists(st.uuids()))
def test_tokens_arrive_as_uuids(link: Link, values: list[UUID]) -> None:
    assert _seen(link, Tokens([value.int for value in values]), "uuid") == values


@EACH
@given(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1)))
def test_numbers_arrive_as_they_were_sent(link: Link, values: list[int | None]) -> None:
    assert _seen(link, Ints(values), "int") == values


@EACH
@given(st.lists(st.none() | st.floats(allow_nan=False)))
def test_fractions_arrive_as_they_were_sent(link: Link, values: list[float | None]) -> None:
    assert _seen(link, Floats(values), "float8") == values


def test_a_nan_arrives_as_one(link: Link) -> None:
    (value,) = _seen(link, Floats([math.nan]), "float8")
    assert isinstance(value, float)
    assert math.isnan(value)


@EACH
@given(st.lists(st.none() | STORABLE))
def test_texts_arrive_as_they_were_sent(link: Link, values: list[str | None]) -> None:
    assert _seen(link, Texts(values), "text") == values


@pytest.mark.parametrize("values", [[1, 2**31], [-(2**31) - 1], ["fine", "\ud800"]])
def test_what_postgres_cannot_hold_is_a_bad_item_of_its_batch(values: list[Any]) -> None:
    with pytest.raises((psycopg.DataError, UnicodeEncodeError)) as raised:
        Texts(values) if isinstance(values[0], str) else Ints(values)
    assert is_bad_item(raised.value)


def test_a_nul_is_a_bad_item_of_its_batch(link: Link) -> None:
    with pytest.raises(psycopg.Error) as raised:
        _seen(link, Texts(["a\x00b"]), "text")
    assert is_bad_item(raised.value)
