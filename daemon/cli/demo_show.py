"""How the demo's end looks to a person: the events, some results, all that failed, and how fast it was.

Called by `headcount demo`. It only formats.
"""

from __future__ import annotations

from daemon.cli.demo_play import Plan, Played
from daemon.cli.formatting import COLOURS, rate, show_failures, show_successes
from daemon.cli.output import echo, show_panel


def show_played(plan: Plan, played: Played) -> None:
    """Everything worth seeing."""
    for event in played.events:
        title = f"{event.attributes.get('event_type', 'event')}, as an ordinary subscriber received it"
        show_panel(title, sorted(event.attributes.items()), event.body)
    if played.successes:
        show_successes(played.successes)
    if played.failures:
        show_failures(played.failures)
    _show_verdict(plan, played)


def _show_verdict(plan: Plan, played: Played) -> None:
    state = played.checksums
    outcome = state.outcome.value if state.outcome else "InProgress"
    counts = f"{state.completed} Completed, {state.errored} Errored"
    echo(f"{outcome}: {state.total} instances of {state.job_name}, {counts}", style=COLOURS.get(outcome))
    speed = rate(state)
    if speed is not None and state.completed_at is not None:
        seconds = (state.completed_at - state.created_at).total_seconds()
        echo(f"{state.total} jobs in {seconds:.2f} s: {speed:.0f} jobs/s, from the kick-off to the last one in")
    error = played.manifest_result.error
    if error is None:
        echo(f"{len(played.successes)} checksums are in {plan.manifest}")
    else:
        echo(f"the manifest was not written: {error.message}", style="red")
