"""Granting a worker's role what it needs, as the role that owns the tables.

Called by `headcount migrate --worker-role`, where no psql is at hand to run deploy/grants.sql.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from daemon.errors import DatabaseNotReady
from daemon.postgres.database import sync_engine
from daemon.postgres.statements import grants as sql


def grant(url: str, role: str) -> None:
    """Let a role work with the rows of every table, those of later migrations too. Raises DatabaseNotReady.

    `url` is the owner's. Doing it twice is harmless.
    """
    engine = sync_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sql.NAME_ROLE, {"role": role})
            connection.execute(sql.GRANT)
    except DBAPIError as error:
        raise DatabaseNotReady(f"The worker's role could not be granted its rights: {error.orig}.") from error
    finally:
        engine.dispose()
