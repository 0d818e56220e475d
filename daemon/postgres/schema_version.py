"""Whether a database has this release's schema: told without Alembic, which costs each start a tenth of a second.

Called at the start of a worker, by every command that asks the database, and by `headcount doctor`.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from daemon.errors import DatabaseNotReady
from daemon.postgres.database import passes, sqlstate
from daemon.postgres.problems import as_refusal
from daemon.postgres.statements import schema_version as sql

VERSION_TABLE = "headcount_schema"
_SUITS = re.compile(r"suits releases from (\w+) on")


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
    done = up_to(applied(connection))
    return [revision for revision in revisions() if revision not in done]


def unknown(connection: Connection) -> str | None:
    """The database's migration if this release neither knows it nor can work on it, else None.

    A schema that was only expanded since suits this release: the newest migrations say, in a comment on the version
    table, from which one on a release can work on it.
    """
    now, known = applied(connection), revisions()
    if now is None or now in known:
        return None
    note = connection.execute(sql.COMMENT_ON_TABLE).scalar()
    suits = _SUITS.fullmatch(note or "")
    return None if suits and suits[1] in known else now


def applied(connection: Connection) -> str | None:
    """The newest migration that the database has; None when it has none."""
    if not connection.execute(sql.TABLE_EXISTS).scalar():
        return None
    return connection.execute(sql.NEWEST_MIGRATION).scalar()


def up_to(revision: str | None) -> set[str]:
    """A migration and those before it."""
    known = revisions()
    if revision is None:
        return set()
    return set(known) if revision not in known else set(known[: known.index(revision) + 1])


@cache
def revisions() -> tuple[str, ...]:
    """All migrations of this release, oldest first: each file's name begins with its number."""
    return tuple(sorted(file.name.partition("_")[0] for file in (migrations_folder() / "versions").glob("[0-9]*.py")))


def migrations_folder() -> Path:
    """Where the migrations are: in the installed package, or in the checkout."""
    spec = find_spec("daemon.migrations")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).resolve().parents[2] / "migrations"
