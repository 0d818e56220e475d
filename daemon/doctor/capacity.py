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
from daemon.doctor.server import Server

AREA = "database"
PER_INSTANCE = 4  # three for the event loop, one for the heartbeat


@dataclass(frozen=True, slots=True)
class Limit:
    """How many connections the pool may have, what says so, and the command that raises it."""

    room: int
    what: str
    fix: str


def check(connection: Connection, server: Server, instances: int) -> Iterator[Finding]:
    """What is too small for so many instances."""
    row = connection.execute(sql.ROOM).one()
    room = row.server - row.reserved - row.others
    wanted = row.server + math.ceil((2 * PER_INSTANCE * instances - room) / 10) * 10
    fix = (
        f"terraform apply -var=database_max_connections={wanted}"
        if server.cloud_sql
        else as_superuser(server.url, f"ALTER SYSTEM SET max_connections = {wanted}") + "  # then restart the server"
    )
    limits = [Limit(room, f"max_connections {row.server}", fix)]
    for kind, name, limit in (("ROLE", server.role, row.role), ("DATABASE", server.database, row.database)):
        if limit >= 0:
            fix = as_superuser(server.url, f'ALTER {kind} "{name}" CONNECTION LIMIT -1')
            limits.append(Limit(limit, f"the limit of the {kind.lower()} {name}", fix))
    yield from (too_small(limit, instances) for limit in limits if limit.room < 2 * PER_INSTANCE * instances)


def too_small(limit: Limit, instances: int) -> Finding:
    """The finding for a limit below twice what the instances take."""
    needed = PER_INSTANCE * instances
    what = (
        f"{instances} instances take {needed} connections, twice that in a rollout; {limit.what} leaves {limit.room}."
    )
    if limit.room < needed:
        why = "Workers that get none don't start, don't beat and are declared dead: their jobs run elsewhere again."
        return loses_work(AREA, what, why, limit.fix)
    return advice(AREA, what, "While old and new instances overlap, some new ones wait for a connection.", limit.fix)
