"""`headcount rejected`: messages that could not become jobs, kept whole.

Called by people who look for what a producer did wrong. Replaying publishes a message as it came, under a new id.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from daemon.cli.connection import with_database
from daemon.cli.options import AsJson, Reveal, duration
from daemon.cli.output import Exit, echo, echo_err, echo_json, shorten, show_table
from daemon.cli.replay import replay
from daemon.inspection import RejectedMessage, RejectedSummary, to_json
from daemon.rules.secret_fields import masked_text

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `headcount rejected list` shows it.")]

rejected = typer.Typer(no_args_is_help=True, help="Messages that could not become jobs: list, show, replay, purge.")


@rejected.command("list")
def list_messages(
    reason: Annotated[str | None, typer.Option(help="Only this reason, e.g. BadUuid.")] = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    after: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="The next page: what follows this number in the order shown.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List rejected messages without their bodies, the oldest first or the newest."""
    messages = with_database(lambda database: database.queries.rejected(after, reason, limit, newest=newest))
    if as_json:
        for message in messages:
            echo_json(to_json(message))
        return
    show_table(("#", "received", "reason", "bytes", "replayed", "why"), [_line(message) for message in messages])


def _line(message: RejectedSummary) -> tuple[str, ...]:
    when = f"{message.received_at.astimezone():%Y-%m-%d %H:%M:%S}"
    replayed = "yes" if message.replayed_at else ""
    return (str(message.id), when, message.reason, str(message.bytes), replayed, shorten(message.text, 100))


@rejected.command("show")
def show_message(number: Number, reveal: Reveal = False, as_json: AsJson = False) -> None:
    """Show one rejected message, whole."""
    message = _message(number)
    attributes = json.loads(message.attributes)
    body, data = bytes(message.data), _data(message, attributes, reveal)
    if as_json:
        shown = {"attributes": attributes, "data": data}
        echo_json({**to_json(message), **shown})
        return
    echo(f"{message.reason}: {message.text}", style="red")
    echo(f"  message {message.message_id}, received {message.received_at.astimezone():%Y-%m-%d %H:%M:%S}")
    for key, value in sorted(attributes.items()):
        echo(f"  {shorten(key)} = {shorten(value, 200)}")
    echo(f"  data ({len(body)} bytes): {shorten(data, 2000)}")


def _data(message: RejectedMessage, attributes: dict[str, object], reveal: bool) -> str:
    """Its body, with what the handler of its job name calls a secret masked."""
    name = str(attributes.get("job_name", ""))
    pointers = () if reveal else with_database(lambda database: database.queries.secrets_in_params(name))
    return masked_text(bytes(message.data).decode("utf-8", "backslashreplace"), pointers)


rejected.command("replay")(replay)


@rejected.command("purge")
def purge(older_than: Annotated[str, typer.Option(help="Age of what is deleted: 30d, 12h.")] = "30d") -> None:
    """Delete rejected messages that are older."""
    seconds = duration(older_than).total_seconds()
    count = with_database(lambda database: database.maintenance.purge_rejected(seconds))
    echo(f"{count} messages deleted")


def _message(number: int) -> RejectedMessage:
    message = with_database(lambda database: database.queries.rejected_message(number))
    if message is None:
        echo_err(f"no rejected message has the number {number}", style="bold red")
        raise typer.Exit(Exit.NOT_FOUND)
    return message
