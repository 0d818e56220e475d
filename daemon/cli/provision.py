"""`headcount provision`: creates the topics and subscriptions that are missing.

Called on a developer's machine and by whoever has no Terraform. It never deletes what exists, and changes it only when
asked to (`--repair`): else it names the command that would.
"""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli.options import AsJson
from daemon.cli.output import echo, echo_json

STYLES = {"created": "green", "differs": "yellow", "repaired": "green"}


def provision(
    filter_job: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Let only this job reach the subscription (repeatable), for a pool of its own."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Also bring the terms of existing subscriptions to what is wanted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create the topics and subscriptions that are missing in HEADCOUNT_PROJECT, and say what exists."""
    import asyncio

    from daemon.pubsub import resources
    from daemon.settings import load

    settings = load(without=("database_url",))
    desired = resources.desired(settings, names=filter_job or ())
    lines = asyncio.run(resources.provision(desired))
    if repair:
        from daemon.pubsub.repair import repair as repaired

        made = [line for line in lines if line.startswith("created")]
        lines = made + asyncio.run(repaired(desired)) + asyncio.run(resources.provision(desired))
    found = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]
    if as_json:
        echo_json([{"state": state, "what": what} for state, what in found])
        return
    for state, what in found:
        echo(f"{state:7} {what}", style=STYLES.get(state))
