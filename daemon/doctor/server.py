"""The database server's facts, and what they say by themselves: version, encoding, standby, clock.

Read once per examination by `database`; the other checks of the database take what was found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.doctor import statements as sql
from daemon.doctor.commands import export, url_with
from daemon.doctor.finding import Finding, advice, fatal, loses_work

AREA = "database"
OLDEST = 150_000
SKEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """What was found at the other end of `url`. `skew` is its clock minus ours, in seconds."""

    url: str
    version: int
    version_text: str
    encoding: str
    standby: bool
    role: str
    database: str
    skew: float
    cloud_sql: bool


def look_at(connection: Connection, url: str) -> Server:
    """Ask for the facts."""
    began = time.time()
    row = connection.execute(sql.FACTS).one()
    here = (began + time.time()) / 2
    facts = {name: value for name, value in row._mapping.items() if name != "clock"}
    return Server(url=url, skew=row.clock - here, **facts)


def check_facts(server: Server) -> Iterator[Finding]:
    """What the facts say. Pure."""
    if server.version < OLDEST:
        what = f"The database is PostgreSQL {server.version_text}; Headcount needs 15 or newer."
        fix = "gcloud sql instances patch INSTANCE --database-version=POSTGRES_17"
        yield fatal(AREA, what, "Statements that every claim needs do not exist there.", fix)
    if server.encoding != "UTF8":
        what = f"The database {server.database} is encoded in {server.encoding}, not UTF8."
        fix = f"createdb --encoding=UTF8 --template=template0 {server.database}_utf8"
        yield loses_work(AREA, what, "Params and results with other letters can't be stored.", fix)
    if server.standby:
        why = "It only copies another server: nothing can be claimed or stored."
        fix = export(url_with(server.url, host="PRIMARY"))
        yield fatal(AREA, "HEADCOUNT_DATABASE_URL points to a standby.", why, fix)
    if abs(server.skew) > SKEW_SECONDS:
        direction = "ahead of" if server.skew > 0 else "behind"
        what = f"The database's clock is {abs(server.skew):.0f} s {direction} this machine's."
        why = "Due times are the database's; queue delays and log times here would be wrong by as much."
        yield advice(AREA, what, why, "timedatectl set-ntp true")
