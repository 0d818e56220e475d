"""The `headcount` application: every command, in the order in which a person meets them.

Called by `daemon.__main__`. To add a command: write it in a file of its own, and add a line here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.api import api
from daemon.cli.asyncapi import asyncapi
from daemon.cli.bench import bench
from daemon.cli.demo import demo
from daemon.cli.dev import dev
from daemon.cli.doctor import doctor
from daemon.cli.explain import explain
from daemon.cli.handlers import handlers
from daemon.cli.kickoff import kickoff
from daemon.cli.link import link
from daemon.cli.listing import list_orchestrations
from daemon.cli.migrate import migrate
from daemon.cli.operations import cancel, complete, republish, retry, verify, workers
from daemon.cli.output import HELP
from daemon.cli.pauses import pause, resume
from daemon.cli.provision import provision
from daemon.cli.prune import prune
from daemon.cli.rejected import rejected
from daemon.cli.run import run
from daemon.cli.status import results, status

app = typer.Typer(
    name="headcount",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run jobs from Pub/Sub in a pool of workers, keep their truth in Postgres, and say when the last one is in.",
    epilog=HELP,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from daemon.cli.output import echo

        echo(f"headcount {version('headcount')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def new(
    folder: Annotated[Path, typer.Argument(help="A new folder, named like the project.", show_default=False)],
) -> None:
    """Make a repository for your own handlers, which runs and is tested as it is."""
    from daemon.cli.new import create
    from daemon.cli.output import echo, echo_err

    for path in create(folder):
        echo(str(path))
    echo_err(f"next: cd {folder} && headcount handlers")


HERE = "On this machine"
ASKING = "Kicking off and following"
OPERATING = "Operating"

app.command(rich_help_panel=HERE)(demo)
app.command(rich_help_panel=HERE)(dev)
app.command(rich_help_panel=HERE)(new)
app.command(rich_help_panel=HERE)(handlers)
app.command(rich_help_panel=HERE)(bench)
app.command(rich_help_panel=ASKING)(kickoff)
app.command("list", rich_help_panel=ASKING)(list_orchestrations)
app.command(rich_help_panel=ASKING)(status)
app.command(rich_help_panel=ASKING)(results)
app.command(rich_help_panel=OPERATING)(run)
app.command(rich_help_panel=OPERATING)(api)
app.command(rich_help_panel=OPERATING)(migrate)
app.command(rich_help_panel=OPERATING)(provision)
app.command(rich_help_panel=OPERATING)(doctor)
app.command(rich_help_panel=ASKING)(explain)
app.command(rich_help_panel=ASKING)(cancel)
app.command(rich_help_panel=ASKING)(retry)
app.command(rich_help_panel=ASKING)(link)
app.command(rich_help_panel=ASKING)(complete)
app.command(rich_help_panel=ASKING)(asyncapi)
app.command(rich_help_panel=OPERATING)(pause)
app.command(rich_help_panel=OPERATING)(resume)
app.command(rich_help_panel=OPERATING)(workers)
app.command(rich_help_panel=OPERATING)(verify)
app.command(rich_help_panel=OPERATING)(republish)
app.command(rich_help_panel=OPERATING)(prune)
app.add_typer(rejected, name="rejected", rich_help_panel=OPERATING)
