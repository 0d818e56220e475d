"""Bringing a database to this release's schema.

Called by `headcount migrate` and by tests. Alembic's configuration is built in code, because
the wheel carries no ini file.
"""

from __future__ import annotations

import time

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from daemon.errors import DatabaseNotReady
from daemon.postgres.database import sqlstate, sync_engine
from daemon.postgres.schema_version import applied, migrations_folder, revisions, up_to

MIGRATION_LOCK = 7_310_554_921_337_001
LOCK_POLL_SECONDS = 0.2


def upgrade(url: str) -> list[str]:
    """Apply every migration that the database lacks, under a lock, and name them. Raises DatabaseNotReady."""
    engine = sync_engine(url)
    try:
        with engine.connect() as connection:
            _lock(connection)
            before = applied(connection)
            if before is not None and before not in revisions():
                raise DatabaseNotReady(f"The database is at migration {before}, which this release does not know.")
            connection.commit()
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            return [revision for revision in revisions() if revision not in up_to(before)]
    except DBAPIError as error:
        fix = None
        if sqlstate(error) == "42501":
            fix = "export HEADCOUNT_DATABASE_URL=postgresql://OWNER@HOST/DATABASE  # the role that owns the tables"
        raise DatabaseNotReady(f"The database could not be migrated: {error.orig}.", fix) from None
    finally:
        engine.dispose()


def _lock(connection: Connection) -> None:
    # Polled: a statement that waits for the lock holds a snapshot, and CREATE INDEX CONCURRENTLY waits for snapshots.
    while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})").scalar():
        connection.commit()
        time.sleep(LOCK_POLL_SECONDS)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    return config
