"""The driver's own connection, for the statements that run for every job: claims and settlements.

Called by `claims` and `settlements`. SQLAlchemy still owns the pool, the transaction and the statements' text; going
round it takes a third of the CPU, and lets statements travel together (a pipeline), which it does not know.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Dialect, TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.ext.asyncio import AsyncConnection

Link = psycopg.AsyncConnection[Any]
Cursor = psycopg.AsyncCursor[Any]  # rows with names: half the cost of a dict each


async def link_of(connection: AsyncConnection) -> Link:
    """The driver's connection below; whatever is sent on it belongs to the same transaction."""
    return cast(Link, (await connection.get_raw_connection()).driver_connection)


async def send(link: Link, statement: TextClause, values: Mapping[str, object]) -> Cursor:
    """Run a statement; inside `link.pipeline()` it is only queued, and its rows are there after the pipeline."""
    cursor = link.cursor(row_factory=namedtuple_row)
    await cursor.execute(compiled(statement), values)
    return cursor


@functools.cache
def compiled(statement: TextClause) -> bytes:
    """The statement's text as the driver wants it."""
    dialect: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # its __init__ is not annotated
    return str(statement.compile(dialect=dialect)).encode()
