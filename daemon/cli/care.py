"""What an operator does about orchestrations: retry, cancel, republish, verify, prune; and the list of workers.

Called by people and programs. Each says what it changed; none of them is needed for jobs to end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from daemon.cli.connection import with_client, with_reads
from daemon.cli.exits import Exit
from daemon.cli.options import AsJson, OrchestrationId, duration
from daemon.cli.screen import put, screen, show, table

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from daemon.client import Client
    from daemon.postgres.reads import Reads
    from daemon.postgres.sweep import Violation


def retry(orchestration_id: OrchestrationId, as_json: AsJson = False) -> None:
    """Run the Errored instances of a finished orchestration again; it completes once more, with a new event id."""

    async def work(client: Client) -> int:
        return await client.retry_failed(orchestration_id)

    _told("retried", with_client(work), as_json, "instances run again", "no Errored instance has anything to run")


def cancel(orchestration_id: OrchestrationId, as_json: AsJson = False) -> None:
    """End every unfinished instance as Errored (kind Cancelled); running handlers are stopped within two seconds."""

    async def work(client: Client) -> int:
        return await client.cancel(orchestration_id)

    _told("cancelled", with_client(work), as_json, "instances cancelled", "every instance had finished")


def republish(
    orchestration_id: Annotated[
        UUID | None, typer.Argument(metavar="[ID]", help="Only this orchestration; all of them when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish the messages of waiting jobs again, now: for when a topic or subscription lost them. Never needed: each
    message is published again by itself after HEADCOUNT_REPUBLISH_AFTER_SECONDS."""

    async def work(reads: Reads) -> int:
        return await reads.republish(orchestration_id)

    _told("republished", with_reads(work), as_json, "jobs are published again by the next relay", "no job waits")


def prune(
    older_than: Annotated[str, typer.Option(help="Age of what is deleted: 30d, 12h.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Delete finished orchestrations, with their jobs and history, whose event was published long ago."""
    seconds = duration(older_than).total_seconds()

    async def work(reads: Reads) -> int:
        return await reads.prune(seconds)

    _told("pruned", with_reads(work), as_json, "orchestrations deleted", "nothing is that old")


def verify(as_json: AsJson = False) -> None:
    """Check every invariant against the rows, and change nothing. Exit code 1 when one is broken."""
    found = with_reads(_verify)
    if as_json:
        put([{"check": one.check, "id": one.id, "text": one.text} for one in found])
    else:
        for one in found:
            show(f"{one.check}: {one.id} {one.text}", style="red")
        if not found:
            show("every invariant holds", style="green")
    raise typer.Exit(Exit.FAILED if found else Exit.FINE)


async def _verify(reads: Reads) -> list[Violation]:
    return await reads.verify()


def workers(as_json: AsJson = False) -> None:
    """List the workers: where they are, what they run, and how old their heartbeat is."""

    async def ask(reads: Reads) -> list[RowMapping]:
        return await reads.workers()

    rows = with_reads(ask)
    if as_json:
        put([dict(row) for row in rows])
        return
    shown = table("worker", "pool", "host", "revision", "running", "slots", "holds", "heartbeat", "state")
    for row in rows:
        state = "draining" if row["draining_at"] else "working"
        counts = (str(row["running"]), str(row["slots"]), str(row["holds"]))
        place = (str(row["id"]), row["pool"], row["host"], row["revision"])
        shown.add_row(*place, *counts, f"{row['heartbeat_age']:.0f} s ago", state)
    screen().print(shown)


def _told(word: str, count: int, as_json: bool, some: str, none: str) -> None:
    if as_json:
        put({word: count})
    else:
        show(f"{count} {some}" if count else none)
