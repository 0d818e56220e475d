"""Retrying or cancelling many orchestrations at once: chosen by a filter, shown before anything is changed.

Called by `headcount retry --where` and `headcount cancel --where`. What was counted is what is changed: an
orchestration that comes to match meanwhile is left alone; one that changed meanwhile is skipped and named.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import typer

from daemon.cli.connection import Database, with_client, with_database
from daemon.cli.listing import show_orchestrations
from daemon.cli.output import Exit, echo, echo_err, echo_json
from daemon.errors import HeadcountError
from daemon.orchestration import OrchestrationSummary
from daemon.rules.filters import parse_filter

if TYPE_CHECKING:
    from daemon.client import Client

PAGE = 1_000
SAMPLES = 5
MOST = 100_000

Suits = Callable[[OrchestrationSummary], bool]
Action = Callable[["Client", UUID], Awaitable[int]]


@dataclass(slots=True)
class _Done:
    orchestrations: int = 0
    instances: int = 0
    skipped: dict[UUID, str] = field(default_factory=dict)


def retry_all(where: str, *, yes: bool, as_json: bool) -> None:
    """Retry every complete orchestration with failures that matches, after a preview and a question."""

    def suits(one: OrchestrationSummary) -> bool:
        return one.completed_at is not None and one.errored > 0

    _change_all(where, "retried", suits, lambda client, one: client.retry_failed(one), yes=yes, as_json=as_json)


def cancel_all(where: str, *, yes: bool, as_json: bool) -> None:
    """Cancel every unfinished orchestration that matches, after a preview and a question."""

    def suits(one: OrchestrationSummary) -> bool:
        return one.completed_at is None

    _change_all(where, "cancelled", suits, lambda client, one: client.cancel(one), yes=yes, as_json=as_json)


def _change_all(where: str, word: str, suits: Suits, action: Action, *, yes: bool, as_json: bool) -> None:
    chosen = _matching(where, suits)
    if not as_json:
        _preview(chosen, word)
    if chosen and not yes:
        typer.confirm("Go on?", abort=True, err=True)
    done = with_client(lambda client: _change(client, chosen, action), repeats=False) if chosen else _Done()
    _report(done, word, as_json)


def _matching(where: str, suits: Suits) -> list[OrchestrationSummary]:
    wanted = parse_filter(where)

    async def read(database: Database) -> list[OrchestrationSummary]:
        found: list[OrchestrationSummary] = []
        after = None
        while page := await database.queries.orchestrations(wanted, after, PAGE):
            found += [one for one in page if suits(one)]
            after = page[-1].id
            if len(page) < PAGE or len(found) >= MOST:
                break
        return found[:MOST]

    return with_database(read)


def _preview(chosen: Sequence[OrchestrationSummary], word: str) -> None:
    if not chosen:
        echo("no orchestration matches")
        return
    show_orchestrations(chosen[:SAMPLES])
    if len(chosen) > SAMPLES:
        echo_err(f"... and {len(chosen) - SAMPLES:,} more")
    echo_err(f"{len(chosen):,} orchestrations would be {word}")


async def _change(client: Client, chosen: Sequence[OrchestrationSummary], action: Action) -> _Done:
    done = _Done()
    for one in chosen:
        try:
            done.instances += await action(client, one.id)
            done.orchestrations += 1
        except HeadcountError as error:
            done.skipped[one.id] = str(error)
    return done


def _report(done: _Done, word: str, as_json: bool) -> None:
    if as_json:
        skipped = {str(one): why for one, why in done.skipped.items()}
        echo_json({"orchestrations": done.orchestrations, word: done.instances, "skipped": skipped})
    else:
        for one, why in done.skipped.items():
            echo_err(f"skipped {one}: {why}")
        echo(f"{done.instances:,} instances of {done.orchestrations:,} orchestrations {word}")
    raise typer.Exit(Exit.FAILED if done.skipped else Exit.OK)
