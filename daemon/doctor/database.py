"""Whether a worker could work with this database: reachable, its schema this release's, its tables granted.

Called by `examination`, and by `headcount run` before a worker starts. It reads with the worker's own account on one
connection; nothing is written.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from daemon.doctor import capacity, server_settings, unknown_jobs
from daemon.doctor import statements as sql
from daemon.doctor.commands import as_owner, as_superuser, database_in, export, migrate_as, url_with
from daemon.doctor.finding import Finding, Severity, advice, fatal, loses_work, unchecked
from daemon.doctor.server import Server, check_facts, look_at
from daemon.errors import DatabaseNotReady
from daemon.postgres.database import sqlstate, sync_engine
from daemon.postgres.schema_version import VERSION_TABLE, pending, unknown
from daemon.settings import Settings

AREA = "database"
CORE_TABLES = ("orchestration", "job", "worker")
TABLES = (
    *CORE_TABLES,
    "failed_attempt",
    "redelivery",
    "progress_note",
    "durable_step",
    "limit_key",
    "permit",
    "paused_job",
    "schedule",
    "handler",
    "rejected_message",
    "progress_link",
    "audit",
)
WRITES = "SELECT, INSERT, UPDATE, DELETE"


def check_database(settings: Settings, instances: int, names: Collection[str] | None = None) -> list[Finding]:
    """Everything that is wrong with the database, and jobs in it that nobody knows (`names` are the handlers here)."""
    emulated = bool(os.environ.get("PUBSUB_EMULATOR_HOST"))
    try:
        with _connected(settings) as (connection, server):
            found = list(_essentials(connection, server, emulated=emulated))
            found += server_settings.check_sessions(connection, server)
            found += server_settings.check_vacuum(connection, server, TABLES)
            if settings.database_pooler == "none":  # with a pooler, that one decides
                found += capacity.check(connection, server, instances)
            if all(finding.severity is not Severity.FATAL for finding in found):
                found += unknown_jobs.check_paused(connection)
                if names is not None:
                    found += unknown_jobs.check(connection, names, settings.unknown_job_grace_seconds)
            return found
    except DBAPIError as error:
        return [_unreachable(settings.database_url.get_secret_value(), error)]


def refuse_database(settings: Settings) -> None:
    """Raises DatabaseNotReady with the first fatal finding: age, standby, privileges, migrations, read-only.

    A worker refuses with the doctor's sentence and command. A database that does not answer is left to its start.
    """
    try:
        with _connected(settings) as (connection, server):
            for finding in _essentials(connection, server, emulated=False):
                if finding.severity is Severity.FATAL:
                    raise DatabaseNotReady(finding.what, finding.fix)
    except DBAPIError:
        return


@contextmanager
def _connected(settings: Settings) -> Iterator[tuple[Connection, Server]]:
    url = settings.database_url.get_secret_value()
    engine = sync_engine(url, pooler=settings.database_pooler, timeout=5)
    try:
        with engine.connect() as connection:
            yield connection, look_at(connection, url)
    finally:
        engine.dispose()


def _essentials(connection: Connection, server: Server, *, emulated: bool) -> Iterator[Finding]:
    """What no worker runs without, and what goes wrong next, by few and cheap questions."""
    yield from check_facts(server)
    lacking = list(_privileges(connection, server))
    yield from lacking
    if not any(VERSION_TABLE in finding.what for finding in lacking):
        yield from _migrations(connection, server)
    if not lacking:
        yield from _later_tables(connection, server)
    yield from server_settings.check(connection, server, emulated=emulated)


def _privileges(connection: Connection, server: Server) -> Iterator[Finding]:
    rows = [
        row
        for tables, wanted in (((VERSION_TABLE,), ["SELECT"]), (TABLES, WRITES.split(", ")))
        for row in connection.execute(sql.MISSING_PRIVILEGES, {"tables": list(tables), "privileges": wanted})
    ]
    if len(rows) >= len(CORE_TABLES):
        yield _no_grants(server, [row.table for row in rows], rows[-1].owner)
        return
    for row in rows:
        privileges = ", ".join(row.privileges)
        what = f"{server.role} lacks {privileges} on the table {row.table}."
        fix = as_owner(server.url, row.owner, f'GRANT {privileges} ON "{row.table}" TO "{server.role}"')
        make = fatal if row.table in (*CORE_TABLES, VERSION_TABLE) else loses_work
        yield make(AREA, what, "Every statement that needs it fails, and its jobs stand still.", fix)


def _no_grants(server: Server, tables: list[str], owner: str) -> Finding:
    what = f"{server.role} lacks privileges on {len(tables)} tables: {', '.join(tables)}."
    why = "Every statement that needs them fails. The last statement covers the tables of later migrations too."
    statements = (
        f'GRANT USAGE ON SCHEMA public TO "{server.role}"',
        f'GRANT {WRITES} ON ALL TABLES IN SCHEMA public TO "{server.role}"',
        f'REVOKE INSERT, UPDATE, DELETE ON {VERSION_TABLE} FROM "{server.role}"',
        _default_privileges(server.role),
    )
    return fatal(AREA, what, why, as_owner(server.url, owner, *statements) + "  # the same as deploy/grants.sql")


def _later_tables(connection: Connection, server: Server) -> Iterator[Finding]:
    for row in connection.execute(sql.NO_DEFAULT_PRIVILEGES, {"table": VERSION_TABLE}):
        what = f"Tables that {row.owner} makes later are not granted to {server.role}."
        why = "The next migration that makes a table stops every worker: it is the last statement of deploy/grants.sql."
        yield advice(AREA, what, why, as_owner(server.url, row.owner, _default_privileges(server.role)))


def _default_privileges(role: str) -> str:
    return f'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {WRITES} ON TABLES TO "{role}"'


def _migrations(connection: Connection, server: Server) -> Iterator[Finding]:
    missing, strange = pending(connection), unknown(connection)
    if strange is not None:
        what = f"The database is at migration {strange}, which this release does not know."
        why = "It belongs to a newer release; no worker of this one starts."
        yield fatal(AREA, what, why, "pip install --upgrade headcount")
    elif missing:
        what = f"The database {server.database} lacks the migrations {', '.join(missing)}."
        owner = connection.execute(sql.MIGRATOR, {"table": VERSION_TABLE}).scalar()
        fix = "headcount migrate" if owner is None else migrate_as(server.url, owner)
        yield fatal(AREA, what, "Tables or columns that every job needs are missing.", fix)


def _unreachable(url: str, error: DBAPIError) -> Finding:
    reason = str(error.orig).strip().splitlines()[-1]
    match sqlstate(error):
        case "28P01" | "28000":
            fix = export(url_with(url, user="USER:PASSWORD"))
        case "3D000":
            fix = as_superuser(url, f'CREATE DATABASE "{database_in(url)}"')
        case _:
            fix = f"pg_isready --dbname={shlex.quote(url_with(url))}"
    why = "Nothing is known about it, and no worker starts without it."
    return unchecked(AREA, f"The database cannot be queried: {reason}.", why, fix)
