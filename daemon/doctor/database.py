"""Whether the database keeps what it is told: reachable, writable, durable, cared for, and with room for the pool.

Called by `examination`. It reads with the worker's own account on one connection; nothing is written.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from daemon.doctor import capacity, durability, sessions, unknown_jobs
from daemon.doctor import statements as sql
from daemon.doctor.commands import as_owner, as_superuser, database_in, export, migrate_as, url_with
from daemon.doctor.finding import Finding, Severity, advice, fatal, loses_work, unchecked
from daemon.postgres.database import sqlstate, sync_engine
from daemon.postgres.migrations import VERSION_TABLE, pending, unknown
from daemon.settings import Settings

AREA = "database"
OLDEST = 150_000
SKEW_SECONDS = 5.0
CORE_TABLES = ("orchestration", "job", "worker")
TABLES = (
    *CORE_TABLES,
    "failed_attempt",
    "redelivery",
    "progress_note",
    "durable_step",
    "schedule",
    "rejected_message",
)
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class Server:
    """What was found at the other end. `skew` is its clock minus ours, in seconds."""

    url: str
    version: int
    version_text: str
    encoding: str
    standby: bool
    role: str
    database: str
    skew: float
    cloud_sql: bool


def check_database(settings: Settings, instances: int, names: Collection[str] | None = None) -> list[Finding]:
    """Everything that is wrong with the database, and jobs in it that nobody knows (`names` are the handlers here)."""
    url = settings.database_url.get_secret_value()
    engine = sync_engine(url, pooler=settings.database_pooler, patience=5)
    try:
        with engine.connect() as connection:
            found = list(_questions(connection, settings, instances))
            if names is not None and all(one.severity is not Severity.FATAL for one in found):
                found += unknown_jobs.check(connection, names, settings.unknown_job_patience_seconds)
            return found
    except DBAPIError as error:
        return [_unreachable(url, error)]
    finally:
        engine.dispose()


def fatal_findings(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """What no worker runs with, by few and cheap questions."""
    server = _server(connection, settings.database_url.get_secret_value())
    found = [*of_server(server), *_privileges(connection, server)]
    if not any(VERSION_TABLE in one.what for one in found):
        found += _migrations(connection, server)
    found += durability.check(connection, server.url, server.role, server.database, emulated=False)
    yield from (one for one in found if one.severity is Severity.FATAL)


def _questions(connection: Connection, settings: Settings, instances: int) -> Iterator[Finding]:
    server = _server(connection, settings.database_url.get_secret_value())
    yield from of_server(server)
    missing = list(_privileges(connection, server))
    yield from missing
    if not any(VERSION_TABLE in finding.what for finding in missing):
        yield from _migrations(connection, server)
    if not missing:
        yield from _later_tables(connection, server)
    emulated = bool(os.environ.get("PUBSUB_EMULATOR_HOST"))
    yield from durability.check(connection, server.url, server.role, server.database, emulated=emulated)
    yield from sessions.check(connection, server.url, server.role)
    yield from durability.check_vacuum(connection, server.url, TABLES)
    if settings.database_pooler == "none":  # with a pooler, that one decides
        yield from capacity.check(connection, server.url, server.role, server.database, instances, server.cloud_sql)


def _server(connection: Connection, url: str) -> Server:
    began = time.time()
    row = connection.execute(sql.FACTS).one()
    here = (began + time.time()) / 2
    facts = {name: value for name, value in row._mapping.items() if name != "clock"}
    return Server(url=url, skew=row.clock - here, **facts)


def of_server(server: Server) -> Iterator[Finding]:
    """What its facts say. Pure."""
    for question in _OF_SERVER:
        yield from question(server)


def _age(server: Server) -> Iterator[Finding]:
    if server.version < OLDEST:
        what = f"The database is PostgreSQL {server.version_text}; Headcount needs 15 or newer."
        fix = "gcloud sql instances patch INSTANCE --database-version=POSTGRES_17"
        yield fatal(AREA, what, "Statements that every claim needs do not exist there.", fix)


def _encoding(server: Server) -> Iterator[Finding]:
    if server.encoding != "UTF8":
        fix = f"createdb --encoding=UTF8 --template=template0 {server.database}_utf8"
        what = f"The database {server.database} is encoded in {server.encoding}, not UTF8."
        yield loses_work(AREA, what, "Params and results with other letters can't be stored.", fix)


def _writable(server: Server) -> Iterator[Finding]:
    if server.standby:
        what = "HEADCOUNT_DATABASE_URL points to a standby."
        fix = export(url_with(server.url, host="PRIMARY"))
        yield fatal(AREA, what, "It only copies another server: nothing can be claimed or stored.", fix)


def _clock(server: Server) -> Iterator[Finding]:
    if abs(server.skew) > SKEW_SECONDS:
        way = "ahead of" if server.skew > 0 else "behind"
        what = f"The database's clock is {abs(server.skew):.0f} s {way} this machine's."
        why = "Due times are the database's; queue delays and log times here would be wrong by as much."
        yield advice(AREA, what, why, "timedatectl set-ntp true")


_OF_SERVER: tuple[Callable[[Server], Iterator[Finding]], ...] = (_age, _encoding, _writable, _clock)


def _privileges(connection: Connection, server: Server) -> Iterator[Finding]:
    rows = [
        row
        for tables, wanted in (((VERSION_TABLE,), ("SELECT",)), (TABLES, PRIVILEGES))
        for row in connection.execute(sql.MISSING_PRIVILEGES, {"tables": list(tables), "privileges": list(wanted)})
    ]
    if len(rows) >= len(CORE_TABLES):
        yield _no_grants(server, [row.table for row in rows], rows[-1].owner)
        return
    for row in rows:
        privileges = ", ".join(row.privileges)
        what = f"{server.role} lacks {privileges} on the table {row.table}."
        grant = f'GRANT {privileges} ON "{row.table}" TO "{server.role}"'
        fix = as_owner(server.url, row.owner, grant)
        make = fatal if row.table in (*CORE_TABLES, VERSION_TABLE) else loses_work
        yield make(AREA, what, "Every statement that needs it fails, and its jobs stand still.", fix)


def _no_grants(server: Server, tables: list[str], owner: str) -> Finding:
    what = f"{server.role} lacks privileges on {len(tables)} tables: {', '.join(tables)}."
    why = "Every statement that needs them fails. The last statement covers the tables of later migrations too."
    statements = (
        f'GRANT USAGE ON SCHEMA public TO "{server.role}"',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{server.role}"',
        f'REVOKE INSERT, UPDATE, DELETE ON {VERSION_TABLE} FROM "{server.role}"',
        f'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{server.role}"',
    )
    return fatal(AREA, what, why, as_owner(server.url, owner, *statements) + "  # the same as deploy/grants.sql")


def _later_tables(connection: Connection, server: Server) -> Iterator[Finding]:
    for row in connection.execute(sql.NO_DEFAULT_PRIVILEGES, {"table": VERSION_TABLE}):
        what = f"Tables that {row.owner} makes later are not granted to {server.role}."
        statement = (
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public"
            f' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{server.role}"'
        )
        why = "The next migration that makes a table stops every worker: it is the last statement of deploy/grants.sql."
        yield advice(AREA, what, why, as_owner(server.url, row.owner, statement))


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
    what = f"The database cannot be queried: {reason}."
    match sqlstate(error):
        case "28P01" | "28000":
            fix = export(url_with(url, user="USER:PASSWORD"))
        case "3D000":
            fix = as_superuser(url, f'CREATE DATABASE "{database_in(url)}"')
        case _:
            fix = f"pg_isready --dbname={shlex.quote(url_with(url))}"
    return unchecked(AREA, what, "Nothing is known about it, and no worker starts without it.", fix)
