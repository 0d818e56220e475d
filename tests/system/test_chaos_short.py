"""The storm in its short form: two workers, 2,000 jobs, and about a minute of everything that can go wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.faulty_proxy import FaultPlan
from tests.chaos.monkey import ChaosPlan
from tests.chaos.report import Report
from tests.chaos.scenarios.delayed import DelayedStorm, delayed_storm
from tests.chaos.scenarios.storm import Storm, storm
from tests.chaos.stack import Stack, pointed_at
from tests.contract.pubsub.emulator import emulator_launcher, running_emulator
from tests.harness.needs import needs

CHAOS = ChaosPlan(
    kill_every=5.0, kills=8, restart_at=4, crash_at=18, database_away=1, absence_at=11, absence=3, stop_at=9, stop=5
)
SHORT = Storm(
    workers=2,
    orchestrations=40,
    size=50,
    nap=0.3,
    spread=12.0,
    worker_ttl=3.0,
    lease=10.0,
    patience=120.0,
    sweep=5.0,
    chaos=CHAOS,
)

DELAYED = DelayedStorm(
    workers=2,
    orchestrations=40,
    size=10,
    spread=8.0,
    cancels=15,
    hesitation=2.0,
    worker_ttl=5.0,
    lease=10.0,
    patience=150.0,
    sweep=5.0,
    chaos=ChaosPlan(kill_every=2.5, kills=3, drain_every=5.0, drains=1, stop_at=1, stop=7.0),
    faults=FaultPlan(seed=11, cut_every=0.3, late_every=3.0),
)


def judged(report: Report) -> None:
    """Print the figures for the report of a failure, and assert that all are within their limits."""
    print(*report.figures, sep="\n")
    assert report.broken_or_hung == []


@pytest.mark.long
async def test_two_workers_lose_and_double_nothing_in_a_storm() -> None:
    with Stack(hostile=7) as stack:
        judged(await storm(stack, SHORT, "short storm"))


@pytest.mark.long
async def test_links_that_are_cut_and_packets_that_come_late_lose_and_double_nothing() -> None:
    judged(await delayed_storm(DELAYED, "short storm with delayed packets"))


# After a client that was killed, the emulator (0.8.20) tasks nothing out any more, to Google's own clients neither.
@pytest.mark.long
@pytest.mark.emulator
async def test_replaced_workers_lose_and_double_nothing_on_googles_emulator_either(tmp_path: Path) -> None:
    needs("gcloud emulator")
    launcher = emulator_launcher()
    assert launcher is not None
    plan = replace(SHORT, chaos=replace(CHAOS, absence_at=None, gently=True, kills=4))
    with running_emulator(launcher, tmp_path / "log") as address, pointed_at(address), Stack(at=address) as stack:
        judged(await storm(stack, plan, "short storm on Google's emulator"))
