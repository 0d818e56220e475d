"""What must be true of a world once it has recovered from every crash.

Used by the crash tests: no job lost, no event missing or under two ids, counters equal to rows, attempts accounted for.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from daemon.job import Action, Status
from tests.fakes.rows import Row
from tests.property.crash_world import World


def judge_the_end(world: World) -> None:
    """Raises AssertionError for whatever was lost, doubled or miscounted."""
    _every_job_ended_once(world)
    _counters_equal_rows(world)
    _one_event_each(world)
    assert not world.live, "a handler still runs"


def _every_job_ended_once(world: World) -> None:
    for row in world.tables.jobs.values():
        ends = [one for one in row.history if one.action in (Action.COMPLETE, Action.FAIL, Action.CLOSE)]
        assert row.status is not Status.IN_PROGRESS
        assert len(ends) == 1, f"left InProgress {len(ends)} times"
        assert ends[0] is row.history[-1], "something was stored after the end"
        _attempts_are_accounted_for(row)


def _attempts_are_accounted_for(row: Row) -> None:
    attempts = [one.attempt for one in row.history if one.worker_id is not None]
    assert attempts == list(range(1, row.attempt + 1)), "each attempt is settled exactly once, in order"
    assert row.failures == sum(one.counts_as_failure for one in row.history)
    assert row.losses == sum(one.counts_as_loss for one in row.history)


def _counters_equal_rows(world: World) -> None:
    statuses: dict[object, Counter[Status]] = defaultdict(Counter)
    for row in world.tables.jobs.values():
        statuses[row.message.orchestration_id][row.status] += 1
    for key, group in world.tables.groups.items():
        assert group.completed == statuses[key][Status.COMPLETED]
        assert group.errored == statuses[key][Status.ERRORED]
        assert (group.ended is not None) == (group.completed + group.errored == group.total)


def _one_event_each(world: World) -> None:
    told: dict[str, set[str]] = defaultdict(set)
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for body, attributes in world.events:
        told[attributes["orchestration_id"]].add(attributes["ce-id"])
        bodies[attributes["orchestration_id"]].add(body)
    complete = {str(key) for key, group in world.tables.groups.items() if group.ended is not None}
    assert set(told) == complete, "an event is missing, or one was published too early"
    assert all(len(ids) == 1 for ids in told.values()), "an event has two ids"
    assert all(len(same) == 1 for same in bodies.values()), "a repeated event says something else"
