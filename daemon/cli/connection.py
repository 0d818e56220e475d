"""Connections for one command: settings read, connected, closed, and trouble with the database put into a sentence.

Called by every command that asks for or about orchestrations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from daemon.errors import HeadcountError, StoreUnavailable

if TYPE_CHECKING:
    from daemon.client import Client
    from daemon.postgres.job_operations import JobOperations
    from daemon.postgres.maintenance import Maintenance
    from daemon.postgres.queries import Queries
    from daemon.settings import Settings

S = TypeVar("S")
T = TypeVar("T")

TRIES = 5
PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Database:
    """What operators read and change, beside what a client does."""

    queries: Queries
    maintenance: Maintenance
    jobs: JobOperations


def with_client(
    work: Callable[[Client], Awaitable[T]], *, without: Collection[str] = ("project",), repeats: bool = True
) -> T:
    """Run `work(client)`. Raises DatabaseNotReady when that is why it failed.

    `without` names the settings that this command has no use for: only a kick-off needs the project. With `repeats`,
    `work` runs again when Postgres chose it as the victim of a deadlock.
    """
    from daemon.client import Client
    from daemon.settings import load

    settings = load(without=without)
    return _run(settings, Client(settings), work, TRIES if repeats else 1)


def with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Run `work(database)`, again after a deadlock. Raises DatabaseNotReady when that is why it failed."""
    from daemon.settings import load

    settings = load(without=("project",))
    return _run(settings, _database(settings), work, TRIES)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    from daemon.postgres.database import async_engine
    from daemon.postgres.job_operations import JobOperations
    from daemon.postgres.maintenance import Maintenance
    from daemon.postgres.queries import Queries

    url = settings.database_url.get_secret_value()
    engine = async_engine(url, 2, settings.database_pooler, show_values=settings.log_values)
    try:
        yield Database(Queries(engine, settings.worker_ttl_seconds), Maintenance(engine), JobOperations(engine))
    finally:
        await engine.dispose()


def _run(
    settings: Settings, connection: AbstractAsyncContextManager[S], work: Callable[[S], Awaitable[T]], tries: int
) -> T:
    import asyncio

    async def connected() -> T:
        async with connection as opened:
            return await _retried(lambda: work(opened), tries)

    try:
        return asyncio.run(connected())
    except HeadcountError:
        raise
    except Exception as error:
        _diagnose(settings.database_url.get_secret_value(), error)
        raise


async def _retried(work: Callable[[], Awaitable[T]], tries: int) -> T:
    """Run it again while Postgres ends it for a deadlock. Raises StoreUnavailable when it still does after `tries`."""
    import asyncio

    from daemon.postgres.database import is_deadlock

    for tried in range(1, tries + 1):
        try:
            return await work()
        except Exception as error:
            if not is_deadlock(error):
                raise
            if tried == tries:
                text = "The database ended this command for a deadlock, again and again. Run it again."
                raise StoreUnavailable(text) from error
        await asyncio.sleep(PAUSE * tried)
    raise AssertionError("the last try returns or raises")


def _diagnose(url: str, error: Exception) -> None:
    """Raises DatabaseNotReady if the database is down, its schema is another one, or the error is the database's."""
    from daemon.postgres.database import sync_engine
    from daemon.postgres.problems import as_refusal
    from daemon.postgres.schema_version import check_database

    engine = sync_engine(url, timeout=3)
    try:
        check_database(engine)
    finally:
        engine.dispose()
    refusal = as_refusal(error)
    if refusal is not None:
        raise refusal from None
