"""`headcount pause` and `resume`: no worker begins a job of a name, for as long as an operator wants.

Called by people and programs. It is known to the database, so it needs no deployment and outlives every worker.
"""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from daemon.cli.connection import with_client
from daemon.cli.options import AsJson
from daemon.cli.output import echo, echo_err, echo_json, show_table
from daemon.inspection import to_json

JobName = Annotated[str, typer.Argument(metavar="JOB_NAME", help="The name of the job.", show_default=False)]


def pause(
    job_name: Annotated[
        str | None, typer.Argument(metavar="[JOB_NAME]", help="Left out: list what is paused.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even if no worker has ever had a handler of it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin no further job of this name, in any worker; those that run go on, and no attempt is spent.

    Jobs that come meanwhile wait, and `headcount resume JOB_NAME` lets them begin.
    """
    if job_name is None:
        _list(as_json)
        return
    name = job_name
    with_client(lambda client: client.pause(name, force=force))
    if as_json:
        echo_json({"paused": name})
    else:
        echo(name)
        echo_err(f"no job of it begins until: headcount resume {shlex.quote(name)}")


def resume(job_name: JobName, as_json: AsJson = False) -> None:
    """Let the jobs of a paused name begin again, at once."""
    woken = with_client(lambda client: client.resume(job_name))
    if as_json:
        echo_json({"resumed": job_name, "woken": woken})
    else:
        echo(f"{woken} jobs had been held back, and are published by the next relay")


def _list(as_json: bool) -> None:
    found = with_client(lambda client: client.paused())
    if as_json:
        echo_json([to_json(one) for one in found])
        return
    rows = [(one.job_name, f"{one.paused_at.astimezone():%Y-%m-%d %H:%M:%S}", str(one.waiting)) for one in found]
    show_table(("job", "paused at", "held back"), rows)
