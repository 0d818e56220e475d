"""`headcount doctor`: what is wrong here, why it loses work, and the command that fixes it.

Called by operators where a worker runs, and by continuous integration before a deploy. It changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from daemon.cli.options import AsJson
from daemon.cli.output import echo, echo_json


class Area(StrEnum):
    """A part of the examination."""

    WORKER = "worker"
    DATABASE = "database"
    PUBSUB = "pubsub"


def doctor(
    before_deploy: Annotated[
        bool,
        typer.Option("--before-deploy", help="In CI: also check that the settings are those of production."),
    ] = False,
    instances: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many instances the pool may have, for the connections.")
    ] = 1,
    only: Annotated[list[Area] | None, typer.Option(help="Only this part (repeatable).")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that jobs would run here and none would be lost; name the command that fixes what is wrong.

    Exit codes: 0 fine (advice at most), 1 something loses work, 2 something could not be checked.
    """
    from daemon.doctor import report
    from daemon.doctor.examination import AREAS, Scope, examine
    from daemon.settings import load

    areas = [area.value for area in only] if only else AREAS
    findings = list(examine(load(), Scope(instances, before_deploy, areas)))
    if as_json:
        echo_json(report.as_json(findings))
    else:
        for text, style in report.lines(findings):
            echo(text, style=style)
    raise typer.Exit(report.exit_code(findings))
