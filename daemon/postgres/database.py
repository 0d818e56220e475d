"""Connections: how this process reaches Postgres, and which of its errors pass by themselves.

Called by everything in `postgres/`. Binary dumpers are registered on connect (a claim's parameters cost a third of
their text form); half-open connections are noticed by TCP within half a minute, mute ones by `timeout_connection`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar
from uuid import UUID

import psycopg
from psycopg.types.array import ListBinaryDumper
from psycopg.types.string import StrBinaryDumper
from psycopg.types.uuid import UUIDBinaryDumper
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection

from daemon.postgres import arrays
from daemon.postgres.problems import on_error
from daemon.postgres.timeout_connection import AsyncTimeoutConnection, TimeoutConnection

T = TypeVar("T")

_CONNECTION = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "headcount",
}
CHECK_SECONDS = 5
# What a connection asks of its own session, so that nothing outlives a client that has gone: a server process that
# waits for a lock looks for its client every 5 s, one that waits for its client's next statement gives up after 30 s,
# and a connection that nobody confirms on ends in 25 to 30 s (by default the server keeps it and its locks for 2 h).
SESSION = {
    "client_connection_check_interval": f"{CHECK_SECONDS}s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
# How long a server process may outlive its client, at most.
LINGER_SECONDS = CHECK_SECONDS + 5.0
# A worker's statement that waits longer for a lock fails and is repeated on the same connection.
LOCK_SECONDS = 5.0
# Every statement finds its rows by a key. A plan that was made and kept while the tables were small would read them
# whole when they have grown, for up to a minute until Postgres counts them again.
_BY_KEY = "-c enable_seqscan=off -c jit=off"
REPETITIONS = 2
_DATA_CLASSES = ("22", "23", "54")
_PASSING_CLASSES = ("08", "25", "40", "53", "55", "57", "58")


class _Adapted(Protocol):
    adapters: psycopg.adapt.AdaptersMap


class MeasuredPool(AsyncAdaptedQueuePool):
    """A pool that tells how long each taker waited for a connection, in seconds, making one included.

    `waiting` is how many wait at this moment.
    """

    waited: Callable[[float], None] = staticmethod(lambda _seconds: None)
    waiting = 0

    def connect(self) -> PoolProxiedConnection:
        """A connection, once there is a free one."""
        began = time.monotonic()
        self.waiting += 1
        try:
            return super().connect()
        finally:
            self.waiting -= 1
            self.waited(time.monotonic() - began)

    def recreate(self) -> MeasuredPool:
        """What SQLAlchemy makes after a dispose; it goes on telling."""
        made = super().recreate()
        assert isinstance(made, MeasuredPool)
        made.waited = self.waited
        return made


def async_engine(
    url: str,
    size: int,
    pooler: str = "none",
    waited: Callable[[float], None] | None = None,
    *,
    hangs_up: bool = False,
    show_values: bool = False,
) -> AsyncEngine:
    """At most `size` connections for one event loop; none is opened before it is needed.

    With `hangs_up`, no lock is waited for longer than LOCK_SECONDS, and no answer longer than an AsyncTimeoutConnection
    waits. Errors tell bound and stored values only with `show_values`.
    """
    arguments = _connect_args(url, pooler, LOCK_SECONDS if hangs_up else None)
    if hangs_up:
        arguments["async_creator_fn"] = AsyncTimeoutConnection.connect
    engine = create_async_engine(
        _driver_url(url),
        poolclass=MeasuredPool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=30,
        connect_args=arguments,
        hide_parameters=not show_values,
    )
    if waited is not None and isinstance(engine.pool, MeasuredPool):
        engine.pool.waited = waited
    event.listen(engine.sync_engine, "connect", _on_connect)
    if not show_values:
        event.listen(engine.sync_engine, "handle_error", on_error)
    return engine


def sync_engine(
    url: str, size: int = 1, pooler: str = "none", timeout: int | None = None, *, hangs_up: bool = False
) -> Engine:
    """The same for a thread without an event loop.

    With `timeout`, no connection is waited for longer than those seconds; with `hangs_up`, no answer longer than a
    TimeoutConnection waits, and no lock longer than half of that.
    """
    arguments = _connect_args(url, pooler, TimeoutConnection.answer_timeout / 2 if hangs_up else None)
    if timeout is not None:
        arguments |= {"connect_timeout": timeout, "tcp_user_timeout": timeout * 1000, "keepalives_idle": timeout}
    engine = create_engine(
        _driver_url(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=30,
        connect_args=arguments,
        hide_parameters=True,
    )
    if hangs_up:
        event.listen(engine, "do_connect", _ConnectionMaker())
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "handle_error", on_error)
    return engine


def step_engines(url: str, size: int, pooler: str = "none", *, show_values: bool = False) -> tuple[AsyncEngine, Engine]:
    """Connections for authors' own statements, as the driver makes them: for an event loop, and for threads.

    Whoever wants one waits until it is free. Errors tell bound and stored values only with `show_values`.
    """
    named: dict[str, Any] = {
        "pool_size": size,
        "max_overflow": 0,
        "pool_timeout": None,
        "connect_args": _connect_args(url, pooler),
        "hide_parameters": not show_values,
    }
    engines = create_async_engine(_driver_url(url), **named), create_engine(_driver_url(url), **named)
    if not show_values:
        for engine in (engines[0].sync_engine, engines[1]):
            event.listen(engine, "handle_error", on_error)
    return engines


def sqlstate(error: BaseException) -> str | None:
    """Postgres's five-letter code of an error, if the server sent one."""
    original = _original(error)
    return original.sqlstate if isinstance(original, psycopg.Error) else None


def is_bad_item(error: BaseException) -> bool:
    """Whether a batch failed because of what it holds: only then may it be split (22xxx, 23xxx, 54xxx).

    So did a batch that the driver could not even encode (a lone surrogate, a list of mixed types).
    """
    state = sqlstate(error)
    if state is not None:
        return state.startswith(_DATA_CLASSES)
    return isinstance(_original(error), (psycopg.DataError, UnicodeError, OverflowError))


def passes(error: BaseException) -> bool:
    """Whether the same statement may succeed later: a lost connection, a restart, a deadlock, too many connections."""
    state = sqlstate(error)
    if state is not None:
        return state.startswith(_PASSING_CLASSES)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    unavailable = (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError, PoolTimeout)
    return isinstance(_original(error), unavailable)


async def repeated(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction that may be repeated, again after an error that passes: a deadlock, or an answer that was lost.

    Raises what the third try raises.
    """
    for _ in range(REPETITIONS):
        try:
            return await transaction()
        except DBAPIError as error:
            if not passes(error):
                raise
    return await transaction()


def is_deadlock(error: BaseException) -> bool:
    """Whether Postgres ended a transaction for the sake of others: nothing of it was stored, and it may be repeated."""
    return sqlstate(error) in ("40001", "40P01")


def _original(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, StatementError) else error


def _driver_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+psycopg")


def _connect_args(url: str, pooler: str, lock_seconds: float | None = None) -> dict[str, object]:
    if pooler == "transaction":  # a pooler takes no options, and plans are then made afresh each time
        return {**_CONNECTION, "prepare_threshold": None}
    session = SESSION if lock_seconds is None else {**SESSION, "lock_timeout": f"{lock_seconds * 1000:.0f}ms"}
    ours = " ".join(f"-c {name}={value}" for name, value in session.items())
    return {**_CONNECTION, "options": " ".join(filter(None, (ours, _given_options(url), _BY_KEY)))}


def _given_options(url: str) -> str:
    given = make_url(url).query.get("options", "")
    return given if isinstance(given, str) else " ".join(given)


def _on_connect(connection: _Adapted, _record: ConnectionPoolEntry) -> None:
    connection.adapters.register_dumper(UUID, UUIDBinaryDumper)
    connection.adapters.register_dumper(str, StrBinaryDumper)
    connection.adapters.register_dumper(list, ListBinaryDumper)
    arrays.register(connection.adapters)


class _ConnectionMaker:
    """Makes the connections of one engine with a single connection: at most two of them have a server process.

    One that was hung up is gone when its server process has looked for its client, a few seconds later.
    """

    def __init__(self) -> None:
        self._made: deque[TimeoutConnection] = deque(maxlen=2)

    def __call__(
        self, _dialect: Dialect, _record: ConnectionPoolEntry, _arguments: list[Any], named: dict[str, Any]
    ) -> TimeoutConnection:
        now = time.monotonic()
        lingering = [made for made in self._made if made.hung_up_at and now < made.hung_up_at + LINGER_SECONDS]
        if len(lingering) == 2:
            raise psycopg.OperationalError("two server processes did not answer, and may still wait for a lock")
        connection = TimeoutConnection.connect(**named)
        self._made.append(connection)
        return connection
