"""`headcount provision`: creates the topics and subscriptions that are missing.

Called on a developer's machine and by whoever has no Terraform. It never changes or deletes what exists: it names the
command that would.
"""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli.options import AsJson
from daemon.cli.screen import put, show

STYLES = {"created": "green", "differs": "yellow"}


def provision(
    filter_job: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only this job shall reach the subscription (repeatable): a pool of its own."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics and subscriptions that are missing in HEADCOUNT_PROJECT, and say what exists."""
    import asyncio

    from daemon.pubsub import resources
    from daemon.settings import load

    settings = load(without=("database_url",))
    lines = asyncio.run(resources.provision(resources.wanted(settings, names=filter_job or ())))
    found = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]
    if as_json:
        put([{"state": state, "what": what} for state, what in found])
        return
    for state, what in found:
        show(f"{state:7} {what}", style=STYLES.get(state))
