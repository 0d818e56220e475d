"""Whether the database has room for the connections of the whole pool, and of two pools during a rollout.

Called by `database` on its connection. The arithmetic is pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.doctor import statements as sql
from daemon.doctor.commands import as_superuser
from daemon.doctor.finding import Finding, advice, loses_work

AREA = "database"
PER_INSTANCE = 4  # three for the event loop, one for the heartbeat


@dataclass(frozen=True, slots=True)
class Limit:
    """How many connections the pool may have, what says so, and the statement that raises it ("" for the server's)."""

    room: int
    what: str
    raised: str


def check(
    connection: Connection, url: str, role: str, database: str, instances: int, cloud_sql: bool
) -> Iterator[Finding]:
    """What is too small for so many instances."""
    row = connection.execute(sql.ROOM).one()
    needed = PER_INSTANCE * instances
    limits = [Limit(row.server - row.reserved - row.others, f"max_connections {row.server}", "")]
    if row.role >= 0:
        limits.append(Limit(row.role, f"the limit of the role {role}", f'ALTER ROLE "{role}" CONNECTION LIMIT -1'))
    if row.database >= 0:
        raised = f'ALTER DATABASE "{database}" CONNECTION LIMIT -1'
        limits.append(Limit(row.database, f"the limit of the database {database}", raised))
    for limit in limits:
        if limit.room >= 2 * needed:
            continue
        wanted = row.server + math.ceil((2 * needed - limit.room) / 10) * 10
        yield too_small(limit, instances, _fix(url, limit, wanted, cloud_sql))


def too_small(limit: Limit, instances: int, fix: str) -> Finding:
    """The finding for a limit below twice what the instances take."""
    needed = PER_INSTANCE * instances
    what = (
        f"{instances} instances take {needed} connections, twice that in a rollout; {limit.what} leaves {limit.room}."
    )
    if limit.room < needed:
        why = "Workers that get none don't start, don't beat and are declared dead: their jobs run elsewhere again."
        return loses_work(AREA, what, why, fix)
    return advice(AREA, what, "While old and new instances overlap, some new ones wait for a connection.", fix)


def _fix(url: str, limit: Limit, wanted: int, cloud_sql: bool) -> str:
    if limit.raised:
        return as_superuser(url, limit.raised)
    if cloud_sql:
        return f"terraform apply -var=database_max_connections={wanted}"
    return as_superuser(url, f"ALTER SYSTEM SET max_connections = {wanted}") + "  # then restart the server"
