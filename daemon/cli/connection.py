"""A client for one command: settings read, connected, closed, and trouble with the database put into a sentence.

Called by every command that asks for or about orchestrations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from daemon.errors import HeadcountError

if TYPE_CHECKING:
    from daemon.client import Client
    from daemon.postgres.reads import Reads

T = TypeVar("T")


def with_client(work: Callable[[Client], Awaitable[T]], *, without: Collection[str] = ("project",)) -> T:
    """What `work` gives back. Raises DatabaseNotReady when that is why it failed.

    `without` names the settings that this command has no use for: only a kick-off needs the project.
    """
    import asyncio

    from daemon.client import Client
    from daemon.settings import load

    settings = load(without=without)

    async def connected() -> T:
        async with Client(settings) as client:
            return await work(client)

    try:
        return asyncio.run(connected())
    except HeadcountError:
        raise
    except Exception as error:
        _diagnose(settings.database_url.get_secret_value(), error)
        raise


def with_reads(work: Callable[[Reads], Awaitable[T]]) -> T:
    """The same with what only operators read. Raises DatabaseNotReady when that is why it failed."""
    import asyncio

    from daemon.postgres.database import async_engine
    from daemon.postgres.reads import Reads
    from daemon.settings import load

    settings = load(without=("project",))
    url = settings.database_url.get_secret_value()

    async def connected() -> T:
        engine = async_engine(url, 2, settings.database_pooler)
        try:
            return await work(Reads(engine, settings.worker_ttl_seconds))
        finally:
            await engine.dispose()

    try:
        return asyncio.run(connected())
    except HeadcountError:
        raise
    except Exception as error:
        _diagnose(url, error)
        raise


def _diagnose(url: str, error: Exception) -> None:
    """Raises DatabaseNotReady if the database is away, its schema is another one, or it refuses this role."""
    from daemon.errors import DatabaseNotReady
    from daemon.postgres.database import sqlstate, sync_engine
    from daemon.postgres.migrations import LOOK, NO_PRIVILEGE, check_database

    engine = sync_engine(url, patience=3)
    try:
        check_database(engine)
    finally:
        engine.dispose()
    if sqlstate(error) == NO_PRIVILEGE:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise DatabaseNotReady(f"The database refuses this role: {reason}.", LOOK) from None
