"""`headcount prune`: deletes what finished long ago.

Called by people and by a schedule, daily. It refuses an age at which Pub/Sub could still deliver a message of what it
deletes: that message would run its job again.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.age_limit import DAY, AgeLimit, age_limit, days
from daemon.cli.connection import with_database
from daemon.cli.options import AsJson, duration
from daemon.cli.output import echo, echo_json

if TYPE_CHECKING:
    from daemon.postgres.maintenance import Ages

COMPLETED_AGE = 30 * DAY
FAILED_AGE = 90 * DAY
NAMES = {"rejected": "rejected messages"}


def prune(
    older_than: Annotated[
        str | None,
        typer.Option(help="Age of what is deleted, 45d; default 30d for what is Completed and 90d for all else."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    ignores_retention: Annotated[
        bool,
        typer.Option(
            "--dangerously-ignore-retention",
            help="Take an age below what the subscriptions keep: a late message runs its job again. For tests.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete finished orchestrations, with their jobs and history, whose event was published long ago; and rejected
    messages, repairs and redeliveries that are as old as what failed."""
    import asyncio

    from daemon.settings import load

    given = None if older_than is None else duration(older_than).total_seconds()
    limit = AgeLimit(0.0, "") if ignores_retention else asyncio.run(age_limit(load(without=("database_url",))))
    ages = _ages(given, limit)
    pruned = with_database(lambda database: database.maintenance.prune(ages, dry_run=dry_run))
    counts = asdict(pruned)
    if as_json:
        echo_json({"pruned": counts.pop("orchestrations"), **counts})
        return
    deleted = [f"{count} {NAMES.get(name, name)}" for name, count in counts.items() if count]
    end = "would be deleted" if dry_run else "deleted"
    echo(f"{', '.join(deleted)} {end}" if deleted else "nothing is that old")


def _ages(given: float | None, limit: AgeLimit) -> Ages:
    from daemon.errors import RequestRefused
    from daemon.postgres.maintenance import Ages

    if given is None:  # who keeps messages for longer than that keeps histories for as long
        return Ages(max(COMPLETED_AGE, limit.seconds), max(FAILED_AGE, limit.seconds))
    if given < limit.seconds:
        text = f"--older-than {days(given)} is less than {days(limit.seconds)}: {limit.why}."
        raise RequestRefused(f"{text} A message that comes after its job was deleted would run it again.")
    return Ages(given, given)
