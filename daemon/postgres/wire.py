"""The driver's own connection, for the statements that run for every job: claims and settlements.

Called by `claims` and `settlements`. SQLAlchemy still owns the pool, the transaction and the statements' text; going
round it takes a third of the CPU, and lets statements travel together (a pipeline), which it does not know.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
from psycopg import AsyncPipeline
from psycopg.abc import PQGen
from psycopg.rows import namedtuple_row
from sqlalchemy import Dialect, TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.ext.asyncio import AsyncConnection

Link = psycopg.AsyncConnection[Any]
Cursor = psycopg.AsyncCursor[Any]  # rows with names: half the cost of a dict each


async def link_of(connection: AsyncConnection) -> Link:
    """The driver's connection below; whatever is sent on it belongs to the same transaction."""
    return cast(Link, (await connection.get_raw_connection()).driver_connection)


@asynccontextmanager
async def together(link: Link) -> AsyncIterator[None]:
    """Everything that is sent inside leaves at the end in one packet, and its answers are there afterwards."""
    link._pipeline = _OnePacket(link)  # what `pipeline` would make itself
    async with link.pipeline():
        yield


class _OnePacket(AsyncPipeline):
    """The driver's pipeline flushes after every statement, and each flush wakes the server: 0.1 to 0.3 ms of a batch.

    It reaches into the driver, whose version is locked: these two methods move with it, and every test of the store
    goes through them.
    """

    _complete = False

    def _enqueue_sync(self) -> None:
        super()._enqueue_sync()
        while self.command_queue:
            self.command_queue.popleft()()  # into libpq's buffer
        self._complete = True

    def _communicate_gen(self) -> PQGen[None]:
        if self._complete:
            self._complete = False
            yield from super()._communicate_gen()


async def send(link: Link, statement: TextClause, values: Mapping[str, object]) -> Cursor:
    """Run a statement; inside `together` it is only queued, and its rows are there after the pipeline."""
    cursor = link.cursor(row_factory=namedtuple_row)
    await cursor.execute(compiled(statement), values)
    return cursor


@functools.cache
def compiled(statement: TextClause) -> bytes:
    """The statement's text as the driver wants it."""
    dialect: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # its __init__ is not annotated
    return str(statement.compile(dialect=dialect)).encode()
