"""The programme: which scenarios there are, by name, with the sizes and timings of the full run.

Read by `python -m tests.chaos`. The defaults of every setting are in force unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from tests.chaos.report import Report
from tests.chaos.scenarios import latency, recovery
from tests.chaos.scenarios.storm import Storm, storm
from tests.chaos.stage import Stage

Scenario = Callable[[], Awaitable[Report]]


def scenarios(*, long: bool) -> dict[str, Scenario]:
    """By name, in the order in which they run."""
    return {
        "storm": partial(_storm, Storm(), "storm: 4 workers, 20,000 jobs, default timings"),
        "storm-unswept": partial(_storm, Storm(sweep=0, seed=8), "the same with the sweeper switched off"),
        "kill-default": partial(recovery.after_kill, 30.0, jobs=100),
        "kill-short": partial(recovery.after_kill, 3.0, jobs=50, rounds=4),
        "sigterm": recovery.after_sigterm,
        "sigterm-blocked": partial(recovery.after_sigterm, blocked=True),
        "rolling": recovery.rolling,
        "latency": latency.completion,
    }


async def _storm(plan: Storm, name: str) -> Report:
    with Stage(hostile=plan.seed) as stage:
        return await storm(stage, plan, name)
