"""The `headcount` application: every command, in the order in which a person meets them.

Called by `daemon.__main__`. To add a command: write it in a file of its own, add a line here.
"""

from __future__ import annotations

import typer

from daemon.cli.exits import HELP
from daemon.cli.migrate import migrate
from daemon.cli.provision import provision
from daemon.cli.run import run

app = typer.Typer(
    name="headcount",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run jobs from Pub/Sub in a pool of workers, keep their truth in Postgres, and say when the last one is in.",
    epilog=HELP,
)

OPERATING = "Operating"

app.command(rich_help_panel=OPERATING)(run)
app.command(rich_help_panel=OPERATING)(migrate)
app.command(rich_help_panel=OPERATING)(provision)
