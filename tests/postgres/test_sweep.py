"""The sweeper and `verify`: a healthy database has nothing to repair, and each broken invariant is found and named."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from daemon.job import Failed
from daemon.observe import Observer
from daemon.postgres.sweep import Sweeper, verify
from tests.postgres.scene import BOOM, TTL, Scene, messages_for

LIFT = {
    "counters": "UPDATE orchestration SET completed = 0, completed_at = NULL, outcome = NULL",
    "finish_numbers": "UPDATE orchestration SET finishes = 7",
    "dead_holders": "UPDATE worker SET seen_at = now() - interval '1 hour'",
    "overdue_jobs": "UPDATE job SET publish_at = now() - interval '1 hour' WHERE publish_at IS NOT NULL",
    "overdue_events": "UPDATE orchestration SET completed_at = now() - interval '1 hour' WHERE errored = 1",
    "unclosed": "UPDATE orchestration SET cancelled_at = now() - interval '1 hour' WHERE completed_at IS NULL",
}


@dataclass
class Heard(Observer):
    """What was repaired."""

    repairs: list[tuple[str, int]] = field(default_factory=list)

    def repaired(self, cause: str, count: int) -> None:
        self.repairs.append((cause, count))


async def _busy(scene: Scene) -> None:
    """One complete orchestration, one with a running, a waiting and an unborn instance."""
    worker = await scene.worker()
    for message in messages_for(uuid4(), 2):
        await worker.settle(await worker.claim(message), Failed(BOOM, final=True) if message.index else None)
    running, waiting, _unborn = messages_for(uuid4(), 3)
    await worker.claim(running)
    await worker.settle(await worker.claim(waiting), Failed(BOOM))


async def repaired(scene: Scene) -> list[str]:
    """The causes of what the sweeper has written down."""
    return [row["cause"] for row in await scene.run("SELECT cause FROM repair")]


async def test_a_healthy_database_has_nothing_to_repair(scene: Scene) -> None:
    await _busy(scene)
    heard = Heard()
    assert await verify(scene.engine, TTL) == []
    await Sweeper(scene.engine, heard, lambda: None).sweep()
    assert (heard.repairs, await repaired(scene)) == ([], [])


@pytest.mark.parametrize("check", LIFT)
async def test_a_broken_invariant_is_found_and_named(scene: Scene, check: str) -> None:
    await _busy(scene)
    await scene.run(LIFT[check])
    found = {violation.check for violation in await verify(scene.engine, TTL)}
    assert check in found
    assert found <= {check, "finish_numbers"}


async def test_the_sweeper_recounts_from_the_rows_and_keeps_what_it_repaired(scene: Scene) -> None:
    await _busy(scene)
    woken: list[bool] = []
    heard = Heard()
    await scene.run(LIFT["counters"])
    await Sweeper(scene.engine, heard, lambda: woken.append(True)).sweep()
    assert (heard.repairs, woken, await repaired(scene)) == ([("counters", 1)], [True], ["counters"])
    assert await verify(scene.engine, TTL) == []
    (row,) = await scene.run("SELECT completed, errored, outcome FROM orchestration WHERE completed_at IS NOT NULL")
    assert (row["completed"], row["errored"], row["outcome"]) == (1, 1, "Partial")


async def test_an_orchestration_completed_by_mistake_is_opened_again(scene: Scene) -> None:
    made = await scene.kick_off(1)
    await scene.run("UPDATE orchestration SET completed = 1, completed_at = now(), outcome = 'Completed'")
    await Sweeper(scene.engine, Heard(), lambda: None).sweep()
    state = await scene.orchestrations.state(made.id)
    assert (state.completed, state.completed_at, state.outcome) == (0, None, None)


async def test_one_sweeper_works_at_a_time(scene: Scene) -> None:
    await _busy(scene)
    await scene.run(LIFT["counters"])
    heard = Heard()
    async with scene.rival() as other:
        await other.run("SELECT pg_advisory_xact_lock(7310554921337002)")
        await Sweeper(scene.engine, heard, lambda: None).sweep()
    assert heard.repairs == []
