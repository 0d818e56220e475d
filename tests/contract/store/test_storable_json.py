"""What the encoder accepts, Postgres takes: as json and as jsonb, and gives back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from daemon.errors import ResultNotStorable
from daemon.rules.storable import encode_json, storable_text
from tests.property.strategies import EVERY_TEXT
from tests.property.test_storable_laws import HOSTILE

SLOW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A link to a database that is only asked."""
    with psycopg.connect(database_url, autocommit=True) as link:
        yield link


@SLOW
@given(HOSTILE)
def test_whatever_is_accepted_postgres_takes(connection: psycopg.Connection, value: object) -> None:
    try:
        text = encode_json(value, 10_000)
    except ResultNotStorable:
        return
    kept, read = _asked(connection, "SELECT %s::json::text, %s::json::jsonb::text", text, text)
    assert kept == text
    json.loads(read)


@SLOW
@given(EVERY_TEXT)
def test_whatever_text_was_made_storable_postgres_takes(connection: psycopg.Connection, value: str) -> None:
    text = storable_text(value)
    assert _asked(connection, "SELECT %s::text", text) == (text,)


def _asked(connection: psycopg.Connection, statement: str, *values: str) -> tuple[str, ...]:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row
