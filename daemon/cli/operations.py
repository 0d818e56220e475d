"""What an operator does about orchestrations: retry, cancel, republish, verify; and the list of workers.

Called by people and programs. Each says what it changed; none of them is needed for jobs to end.
"""

from __future__ import annotations

import json
from typing import Annotated
from uuid import UUID

import typer

from daemon.cli.bulk import cancel_all, retry_all
from daemon.cli.connection import Database, with_client, with_database
from daemon.cli.options import AsJson, OptionalId, Where, Yes
from daemon.cli.output import Exit, echo, echo_err, echo_json, show_table
from daemon.errors import OrchestrationNotFound, RequestRefused, ResultNotStorable
from daemon.inspection import Violation, WorkerStatus, to_json
from daemon.rules.storable import encode_json
from daemon.settings import load


def retry(orchestration_id: OptionalId = None, where: Where = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Run the Errored instances of a finished orchestration again; it completes once more, with a new event id."""
    one = _one_of(orchestration_id, where)
    if one is None:
        retry_all(where or "", yes=yes, as_json=as_json)
        return
    count = with_client(lambda client: client.retry_failed(one))
    _echo_count("retried", count, as_json, "instances run again", "no Errored instance has anything to run")


def cancel(orchestration_id: OptionalId = None, where: Where = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """End every unfinished instance as Errored (kind Cancelled), or one job by its id; running handlers are stopped
    within two seconds."""
    one = _one_of(orchestration_id, where)
    if one is None:
        cancel_all(where or "", yes=yes, as_json=as_json)
        return
    try:
        count = with_client(lambda client: client.cancel(one))
    except OrchestrationNotFound:
        count = int(with_database(lambda database: database.jobs.cancel(one)))
    _echo_count("cancelled", count, as_json, "instances cancelled", "every instance had finished")


def complete(
    job_id: Annotated[UUID, typer.Argument(metavar="JOB", help="A job's id, as results and explain show it.")],
    result: Annotated[str, typer.Option(metavar="JSON", help="What its handler would have returned.")] = "null",
    as_json: AsJson = False,
) -> None:
    """End one job that no worker runs as Completed, with a result given by hand."""
    try:
        value = json.loads(result)
    except ValueError as error:
        raise typer.BadParameter(f"the result is not JSON: {error}") from None
    try:
        text = encode_json(value, load(without=("project", "database_url")).result_limit_bytes)
    except ResultNotStorable as error:
        raise RequestRefused(str(error)) from None
    count = int(with_database(lambda database: database.jobs.complete(job_id, text)))
    _echo_count("completed", count, as_json, "job completed", "the job had finished")


def _one_of(orchestration_id: UUID | None, where: str | None) -> UUID | None:
    if (orchestration_id is None) == (where is None):
        raise typer.BadParameter("give either the ID of one orchestration, or --where for all that match")
    return orchestration_id


def republish(
    orchestration_id: Annotated[
        UUID | None, typer.Argument(metavar="[ID]", help="Only this orchestration; all of them when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish the messages of waiting jobs again, now: for when a topic or subscription lost them. Each is published
    again by itself after HEADCOUNT_REPUBLISH_AFTER_SECONDS; a refused event is sent again by this only."""
    count = with_database(lambda database: database.maintenance.republish(orchestration_id))
    _echo_count("republished", count, as_json, "messages are published again by the next relay", "no message waits")


def verify(
    deletes_orphans: Annotated[
        bool, typer.Option("--delete-orphans", help="Delete the jobs whose orchestration has no row; asks first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before orphans are deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check every invariant against the rows. Exit code 1 when one is broken. Changes nothing but what
    --delete-orphans says."""
    violations = _verify()
    if deletes_orphans:
        violations = _delete_orphans(violations, yes)
    if as_json:
        echo_json([{"check": violation.check, "id": violation.id, "text": violation.text} for violation in violations])
    else:
        for violation in violations:
            echo(f"{violation.check}: {violation.id} {violation.text}", style="red")
        if not violations:
            echo("every invariant holds", style="green")
    raise typer.Exit(Exit.FAILED if violations else Exit.OK)


def _verify() -> list[Violation]:
    return with_database(lambda database: database.queries.verify())


def _delete_orphans(violations: list[Violation], yes: bool) -> list[Violation]:
    """Delete what the violations name as orphans; what is broken afterwards."""
    orphans = [violation for violation in violations if violation.check == "orphans"]
    for orphan in orphans:
        echo_err(f"{orphan.id} {orphan.text}")
    if not orphans or not (yes or typer.confirm("Delete these jobs, with their results?", err=True)):
        return violations

    async def delete(database: Database) -> int:
        return sum([await database.maintenance.delete_orphans(UUID(orphan.id)) for orphan in orphans])

    echo_err(f"{with_database(delete)} jobs deleted")
    return _verify()


def workers(as_json: AsJson = False) -> None:
    """List the workers: where they are, what they run, and how old their heartbeat is."""
    statuses = with_database(lambda database: database.queries.workers())
    if as_json:
        echo_json([to_json(status) for status in statuses])
        return
    columns = ("worker", "pool", "host", "revision", "running", "slots", "holds", "heartbeat", "state")
    show_table(columns, [_worker(status) for status in statuses])


def _worker(status: WorkerStatus) -> tuple[str, ...]:
    return (
        str(status.id),
        status.pool,
        status.host,
        status.revision,
        str(status.running),
        str(status.slots),
        str(status.holds),
        f"{status.heartbeat_age:.0f} s ago",
        "draining" if status.draining_at else "working",
    )


def _echo_count(word: str, count: int, as_json: bool, some: str, none: str) -> None:
    if as_json:
        echo_json({word: count})
    else:
        echo(f"{count} {some}" if count else none)
