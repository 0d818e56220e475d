"""One transaction in one packet: how the statements that run for every job reach Postgres.

Called by `claims` and `settlements`. SQLAlchemy owns the pool and the statements' text; here libpq's pipeline is driven
through the driver's own wrapper of it (`psycopg.pq`), because a cursor and a wait on the event loop for every statement
cost more than all the rest of a small batch. Nothing here knows what the statements mean.
"""

from __future__ import annotations

import asyncio
import functools
from collections import namedtuple
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
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

Link = psycopg.AsyncConnection[Any]
Rows = list[Any]  # named tuples: half the cost of a dict each
Query = tuple[TextClause, Mapping[str, object]]

_Names = dict[bytes, bytes]
_known: WeakKeyDictionary[Link, _Names] = WeakKeyDictionary()  # the statements that a link has prepared, and as what
_numbers = count(1)
# A pooler that was not announced may give two processes the same session: their names must not meet there.
PROCESS = uuid4().hex[:12].encode()
IDLE_SECONDS = 1.0


class Numbered(NamedTuple):
    """A statement as the protocol wants it: `$1` stands for the first of `parameters`."""

    text: bytes
    parameters: tuple[str, ...]


class _Values(NamedTuple):
    data: Sequence[Buffer | None]
    types: Sequence[int]
    formats: Sequence[Format]


class Kept:
    """A connection that stays with one lane: to take one from the pool and give it back costs as much as a batch.

    It goes back when somebody else waits for one, when the lane has not used it for IDLE_SECONDS, when anything went
    wrong on it, and at the end, by `close`; the next batch takes another.
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
            await _give_back(connection)
            raise
        if self._idle is not None or self._others_wait():
            await _give_back(connection)
        else:
            self._idle = connection
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._let_go)

    async def close(self) -> None:
        """Give it back."""
        connection = self._take()
        if connection is not None:
            await _give_back(connection)

    def _take(self) -> AsyncConnection | None:
        if self._timer is not None:
            self._timer.cancel()
        connection, self._idle, self._timer = self._idle, None, None
        return connection

    def _let_go(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self.close())

    def _others_wait(self) -> bool:
        pool = self._engine.pool
        return isinstance(pool, MeasuredPool) and pool.waiting > 0


async def _give_back(connection: AsyncConnection) -> None:
    await asyncio.shield(connection.close())


def link_of(connection: AsyncConnection) -> Link:
    """The driver's connection below."""
    assert connection.sync_connection is not None, "the connection is open"
    return cast(Link, connection.sync_connection.connection.driver_connection)


async def commit_together(link: Link, queries: Sequence[Query]) -> list[Rows]:
    """Run statements in one transaction, each with a snapshot of its own, and commit it: the rows of each.

    BEGIN, the statements and COMMIT leave in one packet, and one wait brings their answers. All or nothing: the first
    refusal is raised, and whoever owns the connection rolls back. An error of the link itself says nothing about what
    was committed.
    """
    transformer: Transformer = AnyTransformer(link)
    asked = [(numbered(statement), _encoded(transformer, statement, values)) for statement, values in queries]
    try:
        answers = await _committed(link, asked)
    # The driver lets a link forget all its statements after a rollback; and a table that was altered makes the plan of
    # a statement useless, which the server refuses as "cached plan must not change result type".
    except (errors.InvalidSqlStatementName, errors.FeatureNotSupported):
        await link.rollback()
        del _known[link]
        answers = await _committed(link, asked)
    return [_rows(transformer, answer) for answer in answers]


async def _committed(link: Link, asked: Sequence[tuple[Numbered, _Values]]) -> list[PGresult]:
    pgconn, pooled = link.pgconn, link.prepare_threshold is None
    names = {} if pooled else await _prepared(link, asked)  # a pooler may give every transaction another session
    with _Pipeline(pgconn):
        pgconn.send_query_params(b"BEGIN", None)
        for statement, (data, types, formats) in asked:
            if pooled:
                pgconn.send_query_params(statement.text, data, types, formats, Format.BINARY)
            else:
                pgconn.send_query_prepared(names[statement.text], data, formats, Format.BINARY)
        pgconn.send_query_params(b"COMMIT", None)
        answers = await _exchanged(link)
    return _accepted(link, answers)[1:-1]


async def _prepared(link: Link, asked: Sequence[tuple[Numbered, _Values]]) -> Mapping[bytes, bytes]:
    """The name of each statement on this link. A name is used once, for nobody knows which of them a link forgot."""
    known = _known.setdefault(link, {})
    new = {statement.text: values.types for statement, values in asked if statement.text not in known}
    if not new:
        return known
    names = {statement: b"headcount_%s_%d" % (PROCESS, next(_numbers)) for statement in new}
    with _Pipeline(link.pgconn):
        for statement, types in new.items():
            link.pgconn.send_prepare(names[statement], statement, types)
        answers = await _exchanged(link)
    _accepted(link, answers)
    known.update(names)
    return known


class _Pipeline:
    """Pipeline mode; a link that is left in the middle of an exchange is closed, for nobody could use it."""

    __slots__ = ("_pgconn",)

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn

    def __enter__(self) -> None:
        self._pgconn.enter_pipeline_mode()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._pgconn.status != ConnStatus.BAD:
            self._pgconn.exit_pipeline_mode()
        else:
            self._pgconn.finish()


async def _exchanged(link: Link) -> list[PGresult]:
    link.pgconn.pipeline_sync()
    return await link.wait(_exchange(link.pgconn))


def _exchange(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Send what libpq holds and collect all answers up to the synchronisation point.

    Answers are taken in while a long packet is still leaving: a server whose answers nobody reads stops to read.
    """
    while pgconn.flush():
        yield WAIT_RW
        pgconn.consume_input()
    answers: list[PGresult] = []
    while True:
        yield WAIT_R
        pgconn.consume_input()
        while not pgconn.is_busy():
            answer = pgconn.get_result()
            if answer is not None and answer.status == ExecStatus.PIPELINE_SYNC:
                return answers
            if answer is not None:
                answers.append(answer)
            elif pgconn.status == ConnStatus.BAD:  # else it is the end of one statement's answers
                answers.append(pgconn.make_empty_result(ExecStatus.FATAL_ERROR))
                return answers


def _accepted(link: Link, answers: list[PGresult]) -> list[PGresult]:
    for answer in answers:
        if answer.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            refusal = errors.error_from_result(answer, encoding=link.info.encoding)
            hide_values(refusal)
            raise refusal if refusal.sqlstate else psycopg.OperationalError("the link was lost")
    return answers


def _encoded(transformer: Transformer, statement: TextClause, values: Mapping[str, object]) -> _Values:
    row = [values[name] for name in numbered(statement).parameters]
    data = transformer.dump_sequence(row, [PyFormat.AUTO] * len(row))
    return _Values(data, transformer.types or (), transformer.formats or ())


def _rows(transformer: Transformer, answer: PGresult) -> Rows:
    if not answer.ntuples:
        return []
    transformer.set_pgresult(answer)
    return transformer.load_rows(0, answer.ntuples, _row(*(answer.fname(i) for i in range(answer.nfields)))._make)


@functools.cache
def _row(*names: bytes) -> Any:
    return namedtuple("Row", [name.decode() for name in names])


@functools.cache
def numbered(statement: TextClause) -> Numbered:
    """The statement's text with numbers, and what they stand for."""
    compiled = statement.compile(dialect=PGDialect(paramstyle="numeric_dollar"))  # type: ignore[no-untyped-call]
    return Numbered(str(compiled).encode(), tuple(compiled.positiontup or ()))
