"""Orchestrations and instances, as tables for people and as JSON for programs.

Called by every command that shows them. It formats what it is given; it reads nothing but what is to be
masked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING
from uuid import UUID

from daemon.cli.output import Cell, echo, shorten, show_table
from daemon.rules.secret_fields import masked

if TYPE_CHECKING:
    from daemon.client import Client
    from daemon.orchestration import InstanceResult, OrchestrationState

COLOURS = {"Completed": "green", "Partial": "yellow", "Errored": "red"}


def rate(state: OrchestrationState) -> float | None:
    """Jobs per second from the kick-off to the last one in, by the database's clock."""
    if state.completed_at is None:
        return None
    seconds = (state.completed_at - state.created_at).total_seconds()
    return state.total / seconds if seconds > 0 else None


def state_as_json(state: OrchestrationState) -> dict[str, object]:
    """The state under the names of its fields; times as ISO 8601."""
    return {**asdict(state), "tags": dict(state.tags), "outcome": state.outcome and state.outcome.value}


def instance_as_json(result: InstanceResult) -> dict[str, object]:
    """One finished instance: its params, and its result or its error."""
    shown: dict[str, object] = {
        "index": result.index,
        "job_id": str(result.job_id),
        "status": "Completed" if result.error is None else "Errored",
        "params": result.params,
    }
    if result.error is None:
        return {**shown, "result": result.result}
    error = {"kind": result.error.kind.value, "message": result.error.message, "traceback": result.error.traceback}
    return {**shown, "error": error}


async def without_secrets(
    results: AsyncIterator[InstanceResult], client: Client, orchestration_id: UUID, *, reveal: bool = False
) -> AsyncIterator[InstanceResult]:
    """The same instances with their secret params masked, as the workers have described them."""
    state = await client.state(orchestration_id)
    pointers = () if reveal else await client.secrets_in_params(state.job_name)
    async for result in results:
        yield replace(result, params=masked(result.params, pointers))


def show_state(state: OrchestrationState) -> None:
    """A few lines about one orchestration."""
    outcome = state.outcome.value if state.outcome else "InProgress"
    echo(f"{state.job_name}  {state.id}  {outcome}", style=COLOURS.get(outcome, "cyan"))
    waiting = state.total - state.finished - state.running
    counts = {"Completed": state.completed, "Errored": state.errored, "running": state.running, "waiting": waiting}
    echo(
        f"  {state.total} {'instance' if state.total == 1 else 'instances'}: "
        + ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    )
    if state.tags:
        echo("  tags: " + " ".join(f"{key}={value}" for key, value in sorted(state.tags.items())))
    echo(f"  created {state.created_at.astimezone():%Y-%m-%d %H:%M:%S}" + _ending(state))


def _ending(state: OrchestrationState) -> str:
    if state.completed_at is None:
        return f", deadline {state.deadline.astimezone():%Y-%m-%d %H:%M:%S}" if state.deadline else ""
    seconds = (state.completed_at - state.created_at).total_seconds()
    event = "event published" if state.event_published_at else "event not published yet"
    if state.event_refused is not None:
        event = "event refused by Pub/Sub"
    return f", the last one in after {seconds:.2f} s; {event}"


def show_instance(result: InstanceResult) -> None:
    """One finished instance on one line."""
    params = shorten(result.params, 60)
    if result.error is None:
        echo(f"#{result.index} Completed {params} -> {shorten(result.result, 100)}")
    else:
        echo(
            f"#{result.index} Errored {params} -> {result.error.kind}: {shorten(result.error.message, 160)}",
            style="red",
        )


def show_failures(failures: Sequence[InstanceResult], most: int = 10) -> None:
    """Failures with their params in a table, at most so many."""
    rows: list[tuple[Cell, ...]] = [
        (str(result.index), shorten(result.params), (str(result.error.kind), "red"), shorten(result.error.message, 200))
        for result in failures[:most]
        if result.error is not None
    ]
    show_table(("#", "params", "kind", "why"), rows, title=_title("failures", len(failures), most))


def show_successes(successes: Sequence[InstanceResult], most: int = 5) -> None:
    """Successes with their params in a table, at most so many."""
    rows = [(str(result.index), shorten(result.params), shorten(result.result, 120)) for result in successes[:most]]
    show_table(("#", "params", "result"), rows, title=_title("successes", len(successes), most))


def split(results: Iterable[InstanceResult]) -> tuple[list[InstanceResult], list[InstanceResult]]:
    """Successes and failures, each by index."""
    ordered = sorted(results, key=lambda result: result.index)
    return [result for result in ordered if result.error is None], [result for result in ordered if result.error]


def _title(name: str, count: int, most: int) -> str:
    noun = name if count != 1 else {"failures": "failure", "successes": "success"}[name]
    return f"{count} {noun}" if count <= most else f"{count} {noun}, the first {most}:"
