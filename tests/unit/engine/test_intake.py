"""The intake closes for a stall that lasts, not for a moment, and never opens once a stop has begun."""

from __future__ import annotations

import asyncio

import pytest

from daemon.engine.intake import Intake
from daemon.engine.shutdown import Shutdown
from daemon.rules.shutdown import ShutdownPlan
from tests.harness.waiting import until


class Tap:
    """A source that says whether it flows; `opening` holds a resume up."""

    def __init__(self) -> None:
        self.flows = True
        self.turns: list[bool] = []
        self.opening = asyncio.Event()
        self.opening.set()

    def pause(self) -> None:
        self.flows = False
        self.turns.append(False)

    async def resume(self) -> None:
        self.flows = True
        await self.opening.wait()
        self.flows = True
        self.turns.append(True)


def _intake(tap: Tap, stall_seconds: float = 0.0) -> tuple[Intake, Shutdown]:
    shutdown = Shutdown(ShutdownPlan.of(6.0))
    return Intake(tap, shutdown, stall_seconds), shutdown


async def test_a_short_stall_changes_nothing() -> None:
    tap = Tap()
    intake, _ = _intake(tap, 60.0)
    intake.stall(True)
    intake.stall(False)
    await asyncio.sleep(0)
    assert (intake.closed, tap.turns) == (False, [])


async def test_a_stall_that_lasts_closes_the_source_until_every_operation_goes_on() -> None:
    tap = Tap()
    intake, _ = _intake(tap)
    intake.stall(True)
    intake.stall(True)
    await until(lambda: intake.closed)
    assert tap.turns == [False]
    intake.stall(False)
    assert intake.closed
    intake.stall(False)
    assert not intake.closed
    await until(lambda: tap.turns == [False, True])


async def test_a_stopped_intake_never_opens_again() -> None:
    tap = Tap()
    intake, shutdown = _intake(tap)
    intake.stall(True)
    await until(lambda: intake.closed)
    shutdown.stop()
    intake.stall(False)
    await asyncio.sleep(0)
    assert intake.closed
    assert not tap.flows


async def test_a_stop_right_after_the_database_came_back_wins() -> None:
    tap = Tap()
    intake, shutdown = _intake(tap)
    intake.stall(True)
    await until(lambda: intake.closed)
    intake.stall(False)  # the resume is under way, but has not begun
    shutdown.stop()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not tap.flows


@pytest.mark.parametrize("again", ["stopped", "away"])
async def test_what_closes_an_intake_while_it_opens_is_not_undone(again: str) -> None:
    tap = Tap()
    intake, shutdown = _intake(tap)
    intake.stall(True)
    await until(lambda: intake.closed)
    tap.opening.clear()
    intake.stall(False)
    await until(lambda: tap.flows)
    if again == "stopped":
        shutdown.stop()
    else:
        intake.stall(True)
        await until(lambda: intake.closed)
    tap.opening.set()
    await until(lambda: True in tap.turns and not tap.flows)
    assert intake.closed


async def test_an_intake_that_is_made_after_the_stop_began_is_closed() -> None:
    tap, shutdown = Tap(), Shutdown(ShutdownPlan.of(6.0))
    shutdown.stop()
    assert Intake(tap, shutdown).closed
    assert not tap.flows
