"""How connections are set up, and what each error of Postgres and its driver means for a batch."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import lookup
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from daemon.postgres.database import async_engine, is_bad_item, passes, sqlstate, sync_engine
from tests.harness.worker import free_port

BINARY = {"UUIDBinaryDumper", "StrBinaryDumper", "ListBinaryDumper"}
BAD_ITEM = ["22001", "22003", "22008", "22021", "22P02", "22P05", "23502", "23503", "23505", "23514", "54000", "54001"]
PASSING = ["08000", "08006", "25006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03", "58030"]
UNKNOWN = ["28P01", "3D000", "42501", "42601", "42P01", "0A000", "XX000"]


def of_state(state: str) -> DBAPIError:
    try:
        kind = lookup(state)
    except KeyError:
        kind = type("Other", (psycopg.Error,), {"sqlstate": state})
    return DBAPIError("statement", {}, kind())


@pytest.mark.parametrize("state", BAD_ITEM)
def test_a_data_error_is_a_bad_item_and_does_not_pass(state: str) -> None:
    error = of_state(state)
    assert (sqlstate(error), is_bad_item(error), passes(error)) == (state, True, False)


@pytest.mark.parametrize("state", PASSING)
def test_an_outage_a_deadlock_and_a_lack_of_resources_pass_and_blame_no_item(state: str) -> None:
    error = of_state(state)
    assert (sqlstate(error), is_bad_item(error), passes(error)) == (state, False, True)


@pytest.mark.parametrize("state", UNKNOWN)
def test_everything_else_is_neither(state: str) -> None:
    error = of_state(state)
    assert (sqlstate(error), is_bad_item(error), passes(error)) == (state, False, False)


@pytest.mark.parametrize(
    ("error", "bad", "passing"),
    [
        (DBAPIError("s", {}, psycopg.OperationalError("connection failed")), False, True),
        (DBAPIError("s", {}, psycopg.InterfaceError("closed")), False, True),
        (psycopg.OperationalError("raw"), False, True),
        (ConnectionRefusedError(), False, True),
        (TimeoutError(), False, True),
        (PoolTimeout(), False, True),
        (DBAPIError("s", {}, psycopg.DataError("cannot dump lists of mixed types")), True, False),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), True, False),
        (OverflowError("int too large to convert to float"), True, False),
        (DBAPIError("s", {}, psycopg.ProgrammingError("the query has 0 placeholders")), False, False),
        (AssertionError(), False, False),
        (KeyError("a bug"), False, False),
    ],
    ids=lambda value: type(getattr(value, "orig", value)).__name__ if isinstance(value, Exception) else "",
)
def test_errors_without_a_code_are_told_apart_too(error: Exception, bad: bool, passing: bool) -> None:
    assert (is_bad_item(error), passes(error)) == (bad, passing)


async def test_the_async_engine_sends_ids_texts_and_lists_in_binary(database_url: str) -> None:
    engine = async_engine(database_url, 1)
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        found = {type(v): raw.adapters.get_dumper(type(v), psycopg.adapt.PyFormat.AUTO) for v in (uuid4(), "", [])}
    assert {dumper.__name__ for dumper in found.values()} == BINARY
    await engine.dispose()


def test_the_sync_engine_sends_ids_texts_and_lists_in_binary(database_url: str) -> None:
    engine = sync_engine(database_url)
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        found = {type(v): raw.adapters.get_dumper(type(v), psycopg.adapt.PyFormat.AUTO) for v in (uuid4(), "", [])}
    assert {dumper.__name__ for dumper in found.values()} == BINARY
    engine.dispose()


async def test_behind_a_transaction_pooler_nothing_is_prepared(database_url: str) -> None:
    for pooler, threshold in (("none", 5), ("transaction", None)):
        engine = async_engine(database_url, 1, pooler)
        async with engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw.prepare_threshold == threshold
            names = (await connection.execute(text("SELECT current_setting('application_name')"))).scalar()
            assert names == "headcount"
        await engine.dispose()


def test_a_database_that_is_not_there_is_noticed_within_the_patience() -> None:
    engine = sync_engine(f"postgresql://nobody@127.0.0.1:{free_port()}/none", timeout=1)
    with pytest.raises(DBAPIError) as refused:
        engine.connect()
    assert passes(refused.value)
    engine.dispose()
