"""One transaction in one packet: how the statements that run for every job reach Postgres.

Called by `claims` and `settlements`. SQLAlchemy owns the pool and the statements' text; here libpq's pipeline is driven
through the driver's own wrapper of it (`psycopg.pq`), because a cursor and a wait on the event loop for every statement
cost more than all the rest of a small batch. Nothing here knows what the statements mean.
"""

from __future__ import annotations

import asyncio
import functools
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any, NamedTuple, cast
from uuid import uuid4
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors
from psycopg.abc import Buffer, PQGen, Transformer
from psycopg.adapt import PyFormat
from psycopg.adapt import Transformer as AnyTransformer
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import WAIT_R, WAIT_RW
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.postgres.database import MeasuredPool
from daemon.postgres.problems import hide_values

RawConnection = psycopg.AsyncConnection[Any]
Rows = list[Any]  # named tuples: half the cost of a dict each
Query = tuple[TextClause, Mapping[str, object]]

# The statements that a connection has prepared, and under which names.
_prepared_names: WeakKeyDictionary[RawConnection, dict[bytes, bytes]] = WeakKeyDictionary()
_numbers = count(1)
# A pooler that was not announced may give two processes the same session: their names must not meet there.
PROCESS = uuid4().hex[:12].encode()
IDLE_SECONDS = 1.0


class CompiledStatement(NamedTuple):
    """A statement as the protocol wants it: `$1` stands for the first of `parameters`."""

    text: bytes
    parameters: tuple[str, ...]


class _Call(NamedTuple):
    text: bytes
    values: Sequence[Buffer | None]
    types: Sequence[int]
    formats: Sequence[Format]


class PinnedConnection:
    """A connection that stays with one operation: to take one from the pool and return it costs as much as a batch.

    It goes back when somebody else waits for one, when it was not used for IDLE_SECONDS, when anything went wrong on
    it, and at the end, by `close`; the next batch takes another.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._idle: AsyncConnection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """It, or another one from the pool while it is in use."""
        connection = self._take() or await self._engine.connect()
        try:
            yield connection
        except BaseException:
            await asyncio.shield(connection.close())
            raise
        pool = self._engine.pool
        if self._idle is not None or (isinstance(pool, MeasuredPool) and pool.waiting > 0):
            await asyncio.shield(connection.close())
        else:
            self._idle = connection
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_soon)

    async def close(self) -> None:
        """Return it to the pool."""
        connection = self._take()
        if connection is not None:
            await asyncio.shield(connection.close())

    def _take(self) -> AsyncConnection | None:
        if self._timer is not None:
            self._timer.cancel()
        connection, self._idle, self._timer = self._idle, None, None
        return connection

    def _close_soon(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self.close())


def raw_connection(connection: AsyncConnection) -> RawConnection:
    """The driver's connection below."""
    assert connection.sync_connection is not None, "the connection is open"
    return cast(RawConnection, connection.sync_connection.connection.driver_connection)


async def run_transaction(connection: AsyncConnection, queries: Sequence[Query]) -> list[Rows]:
    """Run statements in one transaction, each with a snapshot of its own, and commit it: the rows of each.

    BEGIN, the statements and COMMIT leave in one packet, and one wait brings their answers. All or nothing: the first
    refusal is raised, and whoever owns the connection rolls back. An error of the connection itself says nothing about
    what was committed.
    """
    raw = raw_connection(connection)
    transformer: Transformer = AnyTransformer(raw)
    calls = [_encode(transformer, statement, values) for statement, values in queries]
    try:
        results = await _commit(raw, calls)
    # The driver lets a connection forget all its statements after a rollback; and a table that was altered makes the
    # plan of a statement useless, which the server refuses as "cached plan must not change result type".
    except (errors.InvalidSqlStatementName, errors.FeatureNotSupported):
        await raw.rollback()
        del _prepared_names[raw]
        results = await _commit(raw, calls)
    return [_rows(transformer, result) for result in results]


async def _commit(raw: RawConnection, calls: Sequence[_Call]) -> list[PGresult]:
    pgconn, pooled = raw.pgconn, raw.prepare_threshold is None
    names = {} if pooled else await _prepare(raw, calls)  # a pooler may give every transaction another session
    with _pipeline_mode(pgconn):
        pgconn.send_query_params(b"BEGIN", None)
        for text, values, types, formats in calls:
            if pooled:
                pgconn.send_query_params(text, values, types, formats, Format.BINARY)
            else:
                pgconn.send_query_prepared(names[text], values, formats, Format.BINARY)
        pgconn.send_query_params(b"COMMIT", None)
        results = await raw.wait(_exchange(pgconn))
    _raise_on_error(raw, results)
    return results[1:-1]


async def _prepare(raw: RawConnection, calls: Sequence[_Call]) -> Mapping[bytes, bytes]:
    """The name of each statement on this connection. A name is used once: nobody knows which of them it forgot."""
    known = _prepared_names.setdefault(raw, {})
    new = {call.text: call.types for call in calls if call.text not in known}
    if new:
        names = {text: b"headcount_%s_%d" % (PROCESS, next(_numbers)) for text in new}
        with _pipeline_mode(raw.pgconn):
            for text, types in new.items():
                raw.pgconn.send_prepare(names[text], text, types)
            results = await raw.wait(_exchange(raw.pgconn))
        _raise_on_error(raw, results)
        known.update(names)
    return known


@contextmanager
def _pipeline_mode(pgconn: PGconn) -> Iterator[None]:
    """A connection that is left in the middle of an exchange is closed, for nobody could use it."""
    pgconn.enter_pipeline_mode()
    answered = False
    try:
        yield
        answered = pgconn.status != ConnStatus.BAD
    finally:
        if answered:
            pgconn.exit_pipeline_mode()
        else:
            pgconn.finish()


def _exchange(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Send what libpq holds and collect all answers up to the synchronisation point.

    Answers are taken in while a long packet is still leaving: a server whose answers nobody reads stops to read.
    """
    pgconn.pipeline_sync()
    while pgconn.flush():
        yield WAIT_RW
        pgconn.consume_input()
    results: list[PGresult] = []
    while True:
        yield WAIT_R
        pgconn.consume_input()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
                return results
            if result is not None:
                results.append(result)
            elif pgconn.status == ConnStatus.BAD:  # else it is the end of one statement's answers
                results.append(pgconn.make_empty_result(ExecStatus.FATAL_ERROR))
                return results


def _raise_on_error(raw: RawConnection, results: Sequence[PGresult]) -> None:
    for result in results:
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            error = errors.error_from_result(result, encoding=raw.info.encoding)
            hide_values(error)
            raise error if error.sqlstate else psycopg.OperationalError("the connection was lost")


def _encode(transformer: Transformer, statement: TextClause, values: Mapping[str, object]) -> _Call:
    text, parameters = compiled(statement)
    row = [values[name] for name in parameters]
    data = transformer.dump_sequence(row, [PyFormat.AUTO] * len(row))
    return _Call(text, data, transformer.types or (), transformer.formats or ())


def _rows(transformer: Transformer, result: PGresult) -> Rows:
    if not result.ntuples:
        return []
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, _row(*(result.fname(i) for i in range(result.nfields)))._make)


@functools.cache
def _row(*names: bytes) -> Any:
    return namedtuple("Row", [name.decode() for name in names])


@functools.cache
def compiled(statement: TextClause) -> CompiledStatement:
    """The statement's text with numbers, and what they stand for."""
    compiler = statement.compile(dialect=PGDialect(paramstyle="numeric_dollar"))  # type: ignore[no-untyped-call]
    return CompiledStatement(str(compiler).encode(), tuple(compiler.positiontup or ()))
