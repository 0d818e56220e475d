"""Whether a commit outlives a crash of the server, whether sessions end with their clients, and what is vacuumed.

Called by `database` on its connection. A setting's source decides which command resets it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Connection

from daemon.doctor import statements as sql
from daemon.doctor.commands import as_owner, as_superuser
from daemon.doctor.finding import Finding, advice, fatal, loses_work
from daemon.doctor.server import Server
from daemon.postgres.database import SESSION

AREA = "database"
LOST = "Outcomes and claims that were acknowledged are lost when the server crashes: jobs vanish or run again."
READ_ONLY = "default_transaction_read_only"
TIMEOUT = "statement_timeout"
SHORT_MILLISECONDS = 10_000
WANTED = {
    READ_ONLY: ("off", "Nothing can be claimed or stored."),
    "fsync": ("on", LOST),
    "full_page_writes": ("on", "A crash of the server leaves torn pages: the tables may be damaged beyond repair."),
    "synchronous_commit": (None, LOST),  # any value but off waits for the disk
    "autovacuum": ("on", "The tables grow until the disk is full, and nothing is accepted any more."),
}
EMULATED = "Right on a developer's machine, where this server belongs to `headcount dev`; never in production."
UNENDED = (
    "What a worker that vanished has locked stays locked until the server's TCP gives up (2 h), and one long lock fills"
    " the server with processes whose clients have gone."
)


def check(connection: Connection, server: Server, *, emulated: bool) -> Iterator[Finding]:
    """Settings under which a commit means nothing, or a statement has no time."""
    found = {row.name: row for row in connection.execute(sql.SETTINGS, {"names": [*WANTED, TIMEOUT]})}
    for name, (right, why) in WANTED.items():
        row = found[name]
        if row.setting == right or (right is None and row.setting != "off"):
            continue
        what = f"{name} is {row.setting} (set by: {row.source})."
        if emulated and row.source == "command line":
            yield advice(AREA, what, EMULATED, f"start the server without -c {name}={row.setting}")
        else:
            make = fatal if name == READ_ONLY else loses_work
            yield make(AREA, what, why, reset(server, name, row.source))
    limit = found[TIMEOUT]
    if 0 < int(limit.setting) < SHORT_MILLISECONDS:
        what = f"Statements are cancelled after {limit.setting} ms (set by: {limit.source})."
        why = "A batch of 500 outcomes on a busy server takes longer, and is written again and again."
        yield loses_work(AREA, what, why, reset(server, TIMEOUT, limit.source))


def reset(server: Server, name: str, source: str) -> str:
    """The command that takes a setting back to its default, by where it was set."""
    match source:
        case "database":
            statements = [f'ALTER DATABASE "{server.database}" RESET {name}']
        case "user":
            statements = [f'ALTER ROLE "{server.role}" RESET {name}']
        case "database user":
            statements = [f'ALTER ROLE "{server.role}" IN DATABASE "{server.database}" RESET {name}']
        case "client":
            return f"export HEADCOUNT_DATABASE_URL=...  # the same without {name} in its options"
        case "command line":
            return f"start the server without -c {name}"
        case _:
            default = {TIMEOUT: "0", READ_ONLY: "off"}.get(name, "on")
            statements = [f"ALTER SYSTEM SET {name} = {default}", "SELECT pg_reload_conf()"]
    return as_superuser(server.url, *statements)


def check_sessions(connection: Connection, server: Server) -> Iterator[Finding]:
    """Session options that are off or too long: every connection asks for them, but a pooler passes none on."""
    rows = connection.execute(sql.SESSION_OPTIONS, {"names": list(SESSION), "wanted": list(SESSION.values())}).all()
    if rows:
        what = "Session options are off or too long: " + ", ".join(f"{row.name} is {row.setting}" for row in rows) + "."
        statements = [f"ALTER ROLE \"{server.role}\" SET {row.name} = '{SESSION[row.name]}'" for row in rows]
        yield loses_work(AREA, what, UNENDED, as_owner(server.url, server.role, *statements))


def check_vacuum(connection: Connection, server: Server, tables: Collection[str]) -> Iterator[Finding]:
    """Tables that autovacuum was told to leave alone."""
    for row in connection.execute(sql.NOT_VACUUMED, {"tables": list(tables)}):
        what = f"autovacuum is off for the table {row.table}."
        why = "Every job leaves dead rows in it: it grows, claims become slow, and leases run out."
        fix = as_owner(server.url, row.owner, f'ALTER TABLE "{row.table}" RESET (autovacuum_enabled)')
        yield loses_work(AREA, what, why, fix)
