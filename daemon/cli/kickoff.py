"""`headcount kickoff`: starts an orchestration, and if asked waits for its end.

Called by people and scripts; standard output is the id (or one JSON document), so that a script can keep it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from daemon.cli.connection import with_client
from daemon.cli.formatting import instance_as_json, show_failures, show_state, state_as_json, without_secrets
from daemon.cli.options import AsJson, duration, moment, pairs, values
from daemon.cli.output import Exit, echo, echo_err, echo_json
from daemon.errors import RequestRefused

if TYPE_CHECKING:
    from daemon.client import Client, Orchestration
    from daemon.orchestration import InstanceResult, OrchestrationState

FAILURES_SHOWN = 20


def kickoff(
    job: Annotated[str, typer.Argument(help="The name of the job.", show_default=False)],
    params: Annotated[
        typer.FileText | None,
        typer.Option(
            encoding="utf-8",
            metavar="FILE.jsonl|-",
            help="One instance per line, each a JSON object; - is standard input.",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V",
            help="A param of the one instance (repeatable). JSON values are passed as JSON.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="A tag of the orchestration and its event (repeatable).")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="10m", help="After so long, unfinished instances are Errored.")
    ] = None,
    start_at: Annotated[str | None, typer.Option(metavar="TIME", help="Not before: ISO 8601, or +10m.")] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key gives the first orchestration back.")
    ] = None,
    parallelism: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N instances at once, over all workers.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to the end; exit code 1 if any is Errored.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start one instance of JOB per line of FILE.jsonl, or a single one with the given params; prints its id."""
    if params is not None and param:
        raise typer.BadParameter("give --params for many instances or --param for one, not both")
    instances = _lines(params) if params is not None else iter([values(param or [])])
    tags, limit, start = pairs(tag or []), deadline and duration(deadline), start_at and moment(start_at)

    async def go(client: Client) -> Exit:
        begun = await client.kick_off(
            job,
            instances,
            tags=tags,
            deadline=limit or None,
            start_at=start or None,
            idempotency_key=key,
            parallelism=parallelism,
        )
        return await _report(client, begun, wait, as_json)

    raise typer.Exit(with_client(go, without=(), repeats=False))


def _lines(file: TextIO) -> Iterator[object]:
    """The objects of a JSONL file, one at a time. Raises RequestRefused naming the line."""
    import orjson

    name = "standard input" if file.name == "<stdin>" else Path(file.name).name
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except ValueError as error:
            raise RequestRefused(f"line {number} of {name} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise RequestRefused(f"line {number} of {name} is not a JSON object")
        yield value


async def _report(client: Client, begun: Orchestration, wait: bool, as_json: bool) -> Exit:
    from daemon.cli.follow import follow

    if not wait:
        state = await begun.progress()
        if as_json:
            echo_json(state_as_json(state))
        else:
            echo(str(begun.id))
            echo_err(f"{state.total} x {state.job_name} kicked off; follow with: headcount status {begun.id} --watch")
        return Exit.OK
    if not as_json:
        echo_err(f"orchestration {begun.id}")
    state = await follow(client, begun.id)
    await _summary(client, begun, state, as_json)
    return Exit.FAILED if state.errored else Exit.OK


async def _summary(client: Client, begun: Orchestration, state: OrchestrationState, as_json: bool) -> None:
    from daemon.job import Status

    failures: list[InstanceResult] = []
    if state.errored:
        async for failure in without_secrets(begun.stream_results(Status.ERRORED), client, begun.id):
            failures.append(failure)
            if len(failures) == FAILURES_SHOWN:
                break
    if as_json:
        echo_json({**state_as_json(state), "failures": [instance_as_json(failure) for failure in failures]})
        return
    show_state(state)
    if failures:
        show_failures(failures, FAILURES_SHOWN)
        if state.errored > len(failures):
            echo_err(f"{state.errored} are Errored; all of them: headcount results {state.id} --failed")
