"""`headcount rejected replay`: rejected messages published again, after what was wrong with them is corrected.

Called by people, who see how many there are and are asked, and by programs, which pass `--yes`. What is rejected after
the preview is not touched. Each message is marked once Pub/Sub has it, so that a second run goes on where one stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.connection import Database, with_database
from daemon.cli.options import AsJson
from daemon.cli.output import Exit, echo, echo_err, echo_json, shorten

if TYPE_CHECKING:
    from daemon.cli.age_limit import AgeLimit
    from daemon.inspection import RejectedBody, ReplayCandidate

BATCH_MESSAGES = 100  # as many may be published twice when the command is killed between publishing and marking
BATCH_BYTES = 8_000_000
IDENTITY = ("job_id", "orchestration_id", "index", "count")


def replay(
    number: Annotated[int | None, typer.Argument(metavar="[NUMBER]", help="One message, as `list` shows it.")] = None,
    reason: Annotated[str | None, typer.Option(help="All of this reason that were not replayed yet.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_new: Annotated[
        bool,
        typer.Option("--as-new", help="As jobs of their own: without the ids and the index in a count that they name."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be published.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish rejected messages again, as they came: after the producer's or the worker's mistake is corrected."""
    if [number is not None, reason is not None, everything].count(True) != 1:
        raise typer.BadParameter("give one of NUMBER, --reason REASON and --all")
    chosen = with_database(lambda database: database.queries.replay_candidates(number, reason))
    if number is not None and not chosen:
        echo_err(f"no rejected message has the number {number}", style="bold red")
        raise typer.Exit(Exit.NOT_FOUND)
    reasons = dict(sorted(Counter(message.reason for message in chosen).items()))
    if dry_run and as_json:
        echo_json({"messages": len(chosen), "reasons": reasons})
        return
    if as_json and not yes and number is None:
        raise typer.BadParameter("a program must pass --yes, or --dry-run to see what would be published")
    if number is None:
        _ask(chosen, reasons, ask=not (yes or dry_run))
    if dry_run:
        return
    _report(*_published(chosen, _again(reason), as_new), as_json)


def _ask(chosen: Sequence[ReplayCandidate], reasons: dict[str, int], *, ask: bool) -> None:
    if not chosen:
        echo_err("nothing to replay: every such message was replayed already, or there is none")
    for reason, count in reasons.items():
        echo_err(f"  {count} x {shorten(reason)}")
    if chosen:
        echo_err(f"{len(chosen)} messages, {sum(message.bytes for message in chosen)} bytes, would be published again")
    if chosen and ask:
        typer.confirm("Publish them now?", abort=True, err=True)


def _published(chosen: Sequence[ReplayCandidate], again: str, as_new: bool) -> tuple[int, dict[int, str]]:
    """How many were published and marked, and why the others were not. Exits when Pub/Sub takes nothing."""
    from daemon.cli.age_limit import age_limit
    from daemon.errors import PublishFailed, RequestRefused
    from daemon.pubsub.isolation import publish_isolated
    from daemon.pubsub.publisher import Publisher
    from daemon.settings import load

    settings = load()
    topic = settings.topic(settings.jobs_topic)
    done: list[int] = []
    failed: dict[int, str] = {}

    async def publish(database: Database) -> None:
        publisher = Publisher()
        limit = None if as_new else await age_limit(settings)
        try:
            for batch in _batches(chosen):
                bodies = await database.queries.rejected_bodies([message.id for message in batch])
                if limit is not None:
                    failed.update((body.id, _too_old(body, limit)) for body in bodies if body.age >= limit.seconds)
                    bodies = [body for body in bodies if body.id not in failed]
                    if failed and len(chosen) == 1:
                        raise RequestRefused(failed[chosen[0].id])
                messages = [(bytes(body.data), _attributes(body.attributes, as_new)) for body in bodies]
                refusals = await publish_isolated(publisher, topic, messages)
                failed.update((bodies[index].id, str(error)) for index, error in refusals.items())
                published = [body.id for index, body in enumerate(bodies) if index not in refusals]
                await database.maintenance.mark_replayed(published)
                done.extend(published)
        finally:
            await publisher.close()

    try:
        with_database(publish)
    except PublishFailed as error:
        echo_err(shorten(str(error), 500), style="bold red")
        echo_err(f"{len(done)} of {len(chosen)} are published and marked; to go on: {again}")
        raise typer.Exit(Exit.FAILED) from None
    return len(done), failed


def _too_old(body: RejectedBody, limit: AgeLimit) -> str:
    """Why a message is not replayed as it is: its job may have run and been pruned, and would run again."""
    from daemon.cli.age_limit import days

    text = f"message {body.id} is {days(body.age)} old, and what it belongs to may have been pruned after"
    again = f"headcount rejected replay {body.id} --as-new"
    return f"{text} {days(limit.seconds)} ({limit.why}). As a job of its own: {again}"


def _attributes(text: str, as_new: bool) -> dict[str, str]:
    attributes: dict[str, str] = json.loads(text)
    return {key: value for key, value in attributes.items() if not as_new or key not in IDENTITY}


def _batches(chosen: Sequence[ReplayCandidate]) -> Iterator[list[ReplayCandidate]]:
    batch: list[ReplayCandidate] = []
    room = BATCH_BYTES
    for message in chosen:
        if batch and (len(batch) == BATCH_MESSAGES or message.bytes > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(message)
        room -= message.bytes
    if batch:
        yield batch


def _again(reason: str | None) -> str:
    import shlex

    return f"headcount rejected replay {'--all' if reason is None else f'--reason {shlex.quote(reason)}'}"


def _report(count: int, failed: dict[int, str], as_json: bool) -> None:
    if as_json:
        echo_json({"replayed": count, "failed": [{"id": number, "error": text} for number, text in failed.items()]})
    else:
        echo(f"{count} {'message is' if count == 1 else 'messages are'} published again")
        for number, text in failed.items():
            echo_err(f"message {number} was not: {shorten(text, 300)}", style="red")
    if failed:
        raise typer.Exit(Exit.FAILED)
