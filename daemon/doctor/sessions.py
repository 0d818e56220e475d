"""Whether a server process ends soon after its client has: what every connection asks of its own session.

Called by `database` on a connection made like a worker's. A pooler takes no such options; then the role must have them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from daemon.doctor import statements as sql
from daemon.doctor.commands import as_owner
from daemon.doctor.finding import Finding, loses_work
from daemon.postgres.database import SESSION

AREA = "database"
WHY = (
    "What a worker that vanished has locked stays locked until the server's TCP gives up (2 h), and one long lock fills"
    " the server with processes whose clients have gone."
)


def check(connection: Connection, url: str, role: str) -> Iterator[Finding]:
    """Session options that are off, or longer than what workers ask for."""
    rows = connection.execute(sql.SESSION_OPTIONS, {"names": list(SESSION), "wanted": list(SESSION.values())}).all()
    if rows:
        what = "Session options are off or too long: " + ", ".join(f"{row.name} is {row.setting}" for row in rows) + "."
        statements = [f"ALTER ROLE \"{role}\" SET {row.name} = '{SESSION[row.name]}'" for row in rows]
        yield loses_work(AREA, what, WHY, as_owner(url, role, *statements))
