"""`headcount migrate`: brings the database to this release's schema.

Called once per release, before its workers start. Safe to repeat and to run twice at the same time.
"""

from __future__ import annotations

from daemon.cli.options import AsJson
from daemon.cli.screen import put, show


def migrate(as_json: AsJson = False) -> None:
    """Bring the database (HEADCOUNT_DATABASE_URL) to this release's schema."""
    from daemon.postgres.migrations import upgrade
    from daemon.settings import load

    applied = upgrade(load(without=("project",)).database_url.get_secret_value())
    if as_json:
        put({"applied": applied})
        return
    for revision in applied:
        show(f"applied {revision}")
    if not applied:
        show("the database is up to date")
