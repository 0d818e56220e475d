"""How the demo's end looks to a person: the events, some results, all that failed, and how fast it was.

Called by `headcount demo`. It only formats.
"""

from __future__ import annotations

from rich.console import Group
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from daemon.cli.demo_play import Plan, Played
from daemon.cli.outcomes import COLOURS, failure_table, rate, success_table
from daemon.cli.screen import screen, show
from daemon.local.listener import Event


def show_played(plan: Plan, played: Played) -> None:
    """Everything worth seeing."""
    for event in played.events:
        screen().print(_panel(event))
    if played.successes:
        screen().print(success_table(played.successes))
    if played.failures:
        screen().print(failure_table(played.failures))
    _show_verdict(plan, played)


def _panel(event: Event) -> Panel:
    grid = Table.grid(padding=(0, 2))
    for name, value in sorted(event.attributes.items()):
        grid.add_row(Text(name, style="cyan"), Text(value))
    title = f"[bold]{event.attributes.get('event_type', 'event')}[/], as an ordinary subscriber received it"
    return Panel(Group(grid, Text(), JSON.from_data(event.body)), title=title, title_align="left", expand=False)


def _show_verdict(plan: Plan, played: Played) -> None:
    state = played.checksums
    outcome = state.outcome.value if state.outcome else "InProgress"
    counts = f"{state.completed} Completed, {state.errored} Errored"
    show(f"{outcome}: {state.total} instances of {state.job_name}, {counts}", style=COLOURS.get(outcome))
    speed = rate(state)
    if speed is not None and state.completed_at is not None:
        seconds = (state.completed_at - state.created_at).total_seconds()
        show(f"{state.total} jobs in {seconds:.2f} s: {speed:.0f} jobs/s, from the kick-off to the last one in")
    error = played.manifest_result.error
    if error is None:
        show(f"{len(played.successes)} checksums are in {plan.manifest}")
    else:
        show(f"the manifest was not written: {error.message}", style="red")
