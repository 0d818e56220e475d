"""`headcount migrate`: brings the database to this release's schema.

Called once per release, before its workers start. Safe to repeat and to run twice at the same time.
"""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli.options import AsJson
from daemon.cli.output import echo, echo_json


def migrate(
    worker_role: Annotated[
        str, typer.Option(metavar="ROLE", help="Also grant this role what a worker needs, as deploy/grants.sql does.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Bring the database (HEADCOUNT_DATABASE_URL) to this release's schema."""
    from daemon.postgres.grants import grant
    from daemon.postgres.migrations import upgrade
    from daemon.settings import load

    url = load(without=("project",)).database_url.get_secret_value()
    applied = upgrade(url)
    if worker_role:
        grant(url, worker_role)
    if as_json:
        echo_json({"applied": applied})
        return
    for revision in applied:
        echo(f"applied {revision}")
    if not applied:
        echo("the database is up to date")
    if worker_role:
        echo(f"granted {worker_role} what a worker needs")
