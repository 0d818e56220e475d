"""A Postgres of one's own: the life cycle around a folder of server binaries.

Called by `headcount demo`, `headcount dev` and the test harness. It has no TLS and no
backups, and a password only where one is given: not for production.
"""

from daemon.local import LocalServerError
from daemon.local.postgres.binaries import Binaries, find_binaries
from daemon.local.postgres.server import EmbeddedPostgres

__all__ = ["Binaries", "EmbeddedPostgres", "LocalServerError", "find_binaries"]
