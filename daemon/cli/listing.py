"""`headcount list`: which orchestrations there are, by state, job, tag, kind of failure and age.

Called by people who have an alert and no id, and by programs. Reading only.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from daemon.cli.connection import with_database
from daemon.cli.formatting import COLOURS
from daemon.cli.options import AsJson, Where, duration, pairs
from daemon.cli.output import echo_err, echo_json, shorten, show_table
from daemon.job import Kind
from daemon.orchestration import ListState, OrchestrationFilter, OrchestrationSummary
from daemon.rules.filters import parse_filter

TAGS_WIDTH = 60


def list_orchestrations(
    context: typer.Context,
    state: Annotated[
        ListState | None, typer.Option(help="Only in this state; `failed`: with Errored instances.")
    ] = None,
    job: Annotated[str | None, typer.Option("--job", metavar="NAME", help="Only those of this job name.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only those with this tag (repeatable: with all).")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only those with an Errored instance of this kind.")] = None,
    older_than: Annotated[str | None, typer.Option(metavar="AGE", help="Kicked off longer ago: 1d, 90m.")] = None,
    newer_than: Annotated[str | None, typer.Option(metavar="AGE", help="Kicked off since: 1d, 90m.")] = None,
    where: Where = None,
    after: Annotated[UUID | None, typer.Option(metavar="ID", help="The next page: older than this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List orchestrations, newest first: the ids that explain, results, retry and cancel take."""
    options = OrchestrationFilter(
        state=state,
        job_name=job,
        tags=pairs(tag or ()),
        kind=kind,
        older_than=None if older_than is None else duration(older_than).total_seconds(),
        newer_than=None if newer_than is None else duration(newer_than).total_seconds(),
    )
    if where is not None and options != OrchestrationFilter():
        raise typer.BadParameter("--where says it all: leave the other filters out, or leave --where out")
    wanted = options if where is None else parse_filter(where)
    found = with_database(lambda database: database.queries.orchestrations(wanted, after, limit))
    if as_json:
        for one in found:
            echo_json({**asdict(one), "tags": dict(one.tags), "outcome": one.outcome and one.outcome.value})
    elif found:
        show_orchestrations(found)
        if len(found) == limit:
            echo_err(f"more: {_next_page(context, found[-1].id)}")
    else:
        echo_err("no orchestration matches")


def show_orchestrations(found: Sequence[OrchestrationSummary]) -> None:
    """A table of orchestrations, a line each."""
    columns = ("id", "kicked off", "job", "state", "finished", "Errored", "tags")
    show_table(columns, [_line(one) for one in found])


def _line(one: OrchestrationSummary) -> tuple[str | tuple[str, str], ...]:
    closing = ", being closed" if one.cancelled_at is not None and one.completed_at is None else ""
    tags = " ".join(f"{key}={value}" for key, value in sorted(one.tags.items()))
    return (
        str(one.id),
        f"{one.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        shorten(one.job_name),
        (f"{one.state}{closing}", COLOURS.get(one.state, "cyan")),
        f"{one.completed + one.errored}/{one.total}",
        str(one.errored or ""),
        shorten(tags, TAGS_WIDTH),
    )


def _next_page(context: typer.Context, last: UUID) -> str:
    """The same command, continued."""
    words = ["headcount", "list"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name in ("after", "as_json") or value in (None, [], ()):
            continue
        if value == parameter.get_default(context):
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [parameter.opts[0], str(one)]
    return shlex.join([*words, "--after", str(last)])
