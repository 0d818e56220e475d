"""The intake closes for a stall that lasts, not for a moment, and never opens once it was stopped."""

from __future__ import annotations

import asyncio

import pytest

from daemon.engine import intake as intake_module
from daemon.engine.intake import Intake
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


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "STALL_SECONDS", 0.0)


async def test_a_short_stall_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "STALL_SECONDS", 60.0)
    tap = Tap()
    intake = Intake(tap)
    intake.away(True)
    intake.away(False)
    await asyncio.sleep(0)
    assert (intake.closed, tap.turns) == (False, [])


async def test_a_stall_that_lasts_closes_the_source_until_every_lane_is_back() -> None:
    tap = Tap()
    intake = Intake(tap)
    intake.away(True)
    intake.away(True)
    await until(lambda: intake.closed)
    assert tap.turns == [False]
    intake.away(False)
    assert intake.closed
    intake.away(False)
    assert not intake.closed
    await until(lambda: tap.turns == [False, True])


async def test_a_stopped_intake_never_opens_again() -> None:
    tap = Tap()
    intake = Intake(tap)
    intake.away(True)
    await until(lambda: intake.closed)
    intake.stop()
    intake.away(False)
    await asyncio.sleep(0)
    assert intake.closed
    assert not tap.flows


async def test_a_stop_right_after_the_database_came_back_wins() -> None:
    tap = Tap()
    intake = Intake(tap)
    intake.away(True)
    await until(lambda: intake.closed)
    intake.away(False)  # the resume is under way, but has not begun
    intake.stop()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not tap.flows


@pytest.mark.parametrize("again", ["stopped", "away"])
async def test_what_closes_an_intake_while_it_opens_is_not_undone(again: str) -> None:
    tap = Tap()
    intake = Intake(tap)
    intake.away(True)
    await until(lambda: intake.closed)
    tap.opening.clear()
    intake.away(False)
    await until(lambda: tap.flows)
    if again == "stopped":
        intake.stop()
    else:
        intake.away(True)
        await until(lambda: intake.closed)
    tap.opening.set()
    await until(lambda: True in tap.turns and not tap.flows)
    assert intake.closed
