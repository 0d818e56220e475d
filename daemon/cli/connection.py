"""A client for one command: settings read, connected, closed, and trouble with the database put into a sentence.

Called by every command that asks for or about orchestrations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from daemon.errors import HeadcountError, StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from daemon.client import Client
    from daemon.postgres.maintenance import Maintenance
    from daemon.postgres.reads import Reads

T = TypeVar("T")

TRIES = 5
PAUSE = 0.2


def with_client(
    work: Callable[[Client], Awaitable[T]], *, without: Collection[str] = ("project",), repeats: bool = True
) -> T:
    """What `work` gives back. Raises DatabaseNotReady when that is why it failed.

    `without` names the settings that this command has no use for: only a kick-off needs the project. With `repeats`,
    `work` is done again when Postgres has ended a deadlock at its cost.
    """
    import asyncio

    from daemon.client import Client
    from daemon.settings import load

    settings = load(without=without)

    async def connected() -> T:
        async with Client(settings) as client:
            return await _repeated(lambda: work(client), TRIES if repeats else 1)

    try:
        return asyncio.run(connected())
    except HeadcountError:
        raise
    except Exception as error:
        _diagnose(settings.database_url.get_secret_value(), error)
        raise


def with_reads(work: Callable[[Reads], Awaitable[T]]) -> T:
    """The same with what only operators read. Raises DatabaseNotReady when that is why it failed."""
    from daemon.postgres.reads import Reads

    return with_engine(lambda engine, worker_ttl: work(Reads(engine, worker_ttl)))


def with_maintenance(work: Callable[[Maintenance], Awaitable[T]]) -> T:
    """The same with what only operators change. Raises DatabaseNotReady when that is why it failed."""
    from daemon.postgres.maintenance import Maintenance

    return with_engine(lambda engine, _: work(Maintenance(engine)))


def with_engine(work: Callable[[AsyncEngine, float], Awaitable[T]]) -> T:
    """Run `work(engine, worker_ttl)` on the settings' database. Raises DatabaseNotReady if that is why it failed."""
    import asyncio

    from daemon.postgres.database import async_engine
    from daemon.settings import load

    settings = load(without=("project",))
    url = settings.database_url.get_secret_value()

    async def connected() -> T:
        engine = async_engine(url, 2, settings.database_pooler, show_values=settings.log_values)
        try:
            return await _repeated(lambda: work(engine, settings.worker_ttl_seconds), TRIES)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(connected())
    except HeadcountError:
        raise
    except Exception as error:
        _diagnose(url, error)
        raise


async def _repeated(work: Callable[[], Awaitable[T]], tries: int) -> T:
    """Do it again while Postgres ends it for a deadlock. Raises StoreUnavailable when it still does after `tries`."""
    import asyncio

    from daemon.postgres.database import is_deadlock

    for tried in range(1, tries):
        try:
            return await work()
        except Exception as error:
            if not is_deadlock(error):
                raise
        await asyncio.sleep(PAUSE * tried)
    try:
        return await work()
    except Exception as error:
        if is_deadlock(error):
            text = "The database ended a deadlock at the cost of this command, again and again. Run it again."
            raise StoreUnavailable(text) from error
        raise


def _diagnose(url: str, error: Exception) -> None:
    """Raises DatabaseNotReady if the database is away, its schema is another one, or the error is the database's."""
    from daemon.postgres.database import sync_engine
    from daemon.postgres.migrations import check_database
    from daemon.postgres.problems import as_refusal

    engine = sync_engine(url, patience=3)
    try:
        check_database(engine)
    finally:
        engine.dispose()
    refusal = as_refusal(error)
    if refusal is not None:
        raise refusal from None
