"""Errors of the database tell what is wrong and no value: not the bound ones, and not what the server quotes."""

from __future__ import annotations

import traceback

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.postgres.database import async_engine, is_bad_item, sqlstate, sync_engine
from daemon.postgres.pipeline import run_transaction
from tests.postgres.scene import Scene

SECRET = "sk-live-4111111111111111"
REFUSED = {
    "22P02": "SELECT CAST(:value AS uuid)",
    "22007": "SELECT CAST(:value AS timestamptz)",
    "23505": "INSERT INTO secrets (value) VALUES (:value), (:value)",
    "23514": "INSERT INTO secrets (value, small) VALUES (:value, 7)",
    "23502": "INSERT INTO secrets (value, small) VALUES (:value, NULL)",
    "22001": "INSERT INTO secrets (value, short) VALUES ('x', :value)",
    "42P01": "SELECT :value FROM no_such_table",
}
TABLE = """CREATE TEMPORARY TABLE secrets
(value text PRIMARY KEY, small int NOT NULL DEFAULT 1 CHECK (small < 5), short varchar(3))"""


async def failure_of(engine: AsyncEngine, statement: str, value: str) -> DBAPIError:
    """The error with which the statement ends."""
    try:
        async with engine.connect() as connection:
            await connection.execute(text(TABLE))
            await connection.execute(text(statement), {"value": value})
    except DBAPIError as error:
        return error
    finally:
        await engine.dispose()
    raise AssertionError("the statement was not refused")


@pytest.mark.parametrize("state", REFUSED)
async def test_an_error_of_a_statement_tells_no_value(scene: Scene, state: str) -> None:
    error = await failure_of(async_engine(scene.url, 1), REFUSED[state], SECRET)
    assert SECRET not in str(error) + str(error.orig) + "".join(traceback.format_exception(error))
    assert sqlstate(error) == state
    assert is_bad_item(error) == (state[:2] in ("22", "23"))


@pytest.mark.parametrize("state", REFUSED)
def test_an_error_in_a_thread_tells_no_value(scene: Scene, state: str) -> None:
    engine = sync_engine(scene.url)
    with engine.connect() as connection:
        connection.execute(text(TABLE))
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text(REFUSED[state]), {"value": SECRET})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    engine.dispose()


async def test_an_error_of_a_pipeline_tells_no_value(scene: Scene) -> None:
    engine = async_engine(scene.url, 1)
    async with engine.connect() as connection:
        await connection.execute(text(TABLE))
        await connection.commit()
        with pytest.raises(psycopg.Error) as caught:
            await run_transaction(connection, [(text(REFUSED["23505"]), {"value": SECRET})])
        await connection.invalidate()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "duplicate key" in str(caught.value)
    await engine.dispose()


async def test_values_are_told_when_they_are_asked_for(scene: Scene) -> None:
    error = await failure_of(async_engine(scene.url, 1, show_values=True), REFUSED["22P02"], SECRET)
    assert SECRET in str(error.orig)
    assert f"'value': '{SECRET}'" in str(error)
