"""Bringing a database to this release's schema, and telling whether it is there.

Called by `headcount migrate`, by the start of a worker and by tests. Alembic's configuration is built in code, because
the wheel carries no ini file.
"""

from __future__ import annotations

import re
import shlex
import time
from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from daemon.errors import DatabaseNotReady
from daemon.postgres.database import passes, sqlstate, sync_engine
from daemon.postgres.problems import as_refusal

VERSION_TABLE = "headcount_schema"
MIGRATION_LOCK = 7_310_554_921_337_001
LOCK_POLL_SECONDS = 0.2
_SUITS = re.compile(r"suits releases from (\w+) on")


def upgrade(url: str) -> list[str]:
    """Apply every migration that the database lacks, under a lock, and name them. Raises DatabaseNotReady."""
    engine = sync_engine(url)
    try:
        with engine.connect() as connection:
            _lock(connection)
            before = _applied(connection)
            if before is not None and before not in _revisions():
                raise DatabaseNotReady(f"The database is at migration {before}, which this release does not know.")
            connection.commit()
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            return [revision for revision in _revisions() if revision not in _up_to(before)]
    except DBAPIError as error:
        fix = None
        if sqlstate(error) == "42501":
            fix = "export HEADCOUNT_DATABASE_URL=postgresql://OWNER@HOST/DATABASE  # the role that owns the tables"
        raise DatabaseNotReady(f"The database could not be migrated: {error.orig}.", fix) from None
    finally:
        engine.dispose()


def check_database(engine: Engine) -> None:
    """Raises DatabaseNotReady when the database can't be reached or its schema is not this release's."""
    try:
        with engine.connect() as connection:
            encoding, database = _encoding(connection)
            missing, strange = pending(connection), unknown(connection)
    except DBAPIError as error:
        if sqlstate(error) is not None and (refusal := as_refusal(error)) and not passes(error):
            raise refusal from None
        reason = str(error.orig).strip().splitlines()[0]
        raise DatabaseNotReady(f"The database can't be reached: {reason}.") from None
    if encoding != "UTF8":
        fix = f"createdb --encoding=UTF8 --template=template0 {shlex.quote(f'{database}_utf8')}"
        problem = f"The database {database} is encoded in {encoding}, and only UTF8 holds every letter of params."
        raise DatabaseNotReady(problem, fix)
    if strange is not None:
        raise DatabaseNotReady(f"The database is at migration {strange}, which this release does not know.")
    if missing:
        raise DatabaseNotReady(f"The database lacks the migrations {', '.join(missing)}.", "headcount migrate")


def _encoding(connection: Connection) -> tuple[str, str]:
    """The database's encoding and its name, as the server told the driver when the link was made."""
    info = connection.connection.driver_connection.info  # type: ignore[union-attr]
    return info.parameter_status("server_encoding") or "UTF8", info.dbname


def pending(connection: Connection) -> list[str]:
    """The migrations that the database lacks, oldest first."""
    return [revision for revision in _revisions() if revision not in _up_to(_applied(connection))]


def unknown(connection: Connection) -> str | None:
    """The database's migration if this release neither knows it nor can work on it, else None.

    A schema that was only expanded since suits this release: the newest migrations say, in a comment on the version
    table, from which one on a release can work on it.
    """
    applied, known = _applied(connection), _revisions()
    if applied is None or applied in known:
        return None
    note = connection.exec_driver_sql(f"SELECT obj_description(to_regclass('{VERSION_TABLE}'), 'pg_class')").scalar()
    suits = _SUITS.fullmatch(note or "")
    return None if suits and suits[1] in known else applied


def _lock(connection: Connection) -> None:
    # Polled: a statement that waits for the lock holds a snapshot, and CREATE INDEX CONCURRENTLY waits for snapshots.
    while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})").scalar():
        connection.commit()
        time.sleep(LOCK_POLL_SECONDS)


def _applied(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _revisions() -> list[str]:
    script = ScriptDirectory.from_config(_config())
    return [revision.revision for revision in reversed(list(script.walk_revisions()))]


def _up_to(applied: str | None) -> set[str]:
    revisions = _revisions()
    if applied is None:
        return set()
    return set(revisions) if applied not in revisions else set(revisions[: revisions.index(applied) + 1])


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()))
    return config


def _folder() -> Path:
    spec = find_spec("daemon.migrations")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).resolve().parents[2] / "migrations"
