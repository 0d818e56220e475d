"""Which scenarios there are, by name, with the sizes and timings of the full run.

Read by `python -m tests.chaos`. The defaults of every setting are in force unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tests.chaos.report import Report
from tests.chaos.scenarios import bus, database, endings, fence, hostile, latency, leases, messages, recovery
from tests.chaos.scenarios.delayed import DelayedStorm, delayed_storm
from tests.chaos.scenarios.storm import Storm, storm
from tests.chaos.stack import Stack

Scenario = Callable[[], Coroutine[Any, Any, Report]]


def scenarios(*, long: bool) -> dict[str, Scenario]:
    """By name, in the order in which they run."""
    return {
        "storm": partial(_storm, Storm(), "storm: 4 workers, 20,000 jobs, default timings"),
        "storm-unswept": partial(_storm, Storm(sweep=0, seed=8), "the same with the sweeper switched off"),
        "storm-delayed": partial(delayed_storm, DelayedStorm(), "storm with delayed packets: 4 workers, 5,000 jobs"),
        "kill-default": partial(recovery.after_kill, 30.0, jobs=100),
        "kill-short": partial(recovery.after_kill, 3.0, jobs=50, rounds=4),
        "sigterm": recovery.after_sigterm,
        "sigterm-blocked": partial(recovery.after_sigterm, recovery.BLOCKED),
        "sigterm-crowded": partial(recovery.after_sigterm, recovery.STUCK, crowded=True),
        "sigterm-unheard": partial(recovery.unheard_stop, 6.0),
        "rolling": recovery.rolling,
        "latency": latency.completion,
        "postgres-stopped": partial(database.stopped, 60.0),
        "postgres-stalled": partial(database.stalled, 45.0),
        "postgres-half-open": partial(database.half_open, 45.0),
        "postgres-moved": partial(database.moved, 15.0),
        "postgres-crowded": partial(database.crowded, 30.0),
        "postgres-answers-lost": database.answers_lost,
        "pubsub-gone": partial(bus.gone, 90.0),
        "pubsub-gone-briefly": partial(bus.gone, 16.0),
        "pubsub-forgotten": bus.forgotten,
        "stopped-default": partial(fence.stopped, 30.0),
        "leases-held": leases.held_by_a_killed_worker,
        "leases-hung": leases.sent_to_a_hung_worker,
        "poison-default": partial(fence.poison, 30.0),
        "clock-jump": partial(fence.clock_jump, 6.0),
        "endings": endings.all_endings,
        "messages": messages.all_messages,
        "hostile": hostile.hostile_messages,
        **(_long() if long else {}),
    }


def _long() -> dict[str, Scenario]:
    return {
        "postgres-stopped-long": partial(database.stopped, 600.0),
        "pubsub-gone-long": partial(bus.gone, 600.0),
    }


async def _storm(plan: Storm, name: str) -> Report:
    with Stack(hostile=plan.seed) as stack:
        return await storm(stack, plan, name)
