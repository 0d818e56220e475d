"""A crash at every single await of `process()`, one after the other: nothing lost, nothing doubled.

For each kind of message, each await point and each way to fail, the world then recovers, and the end is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from daemon.job import Status
from tests.property.crash_world import CANCELLED, Flight, World
from tests.property.judgement import judge_the_end

ORCHESTRATION = "00000000-0000-4000-8000-0000000000aa"
HEADS = {"job_name": "paint", "orchestration_id": ORCHESTRATION, "count": "1", "index": "0"}

MESSAGES: dict[str, tuple[bytes, dict[str, str]]] = {
    "succeeds": (b"{}", HEADS),
    "succeeds alone, with no ids": (b"{}", {"job_name": "paint"}),
    "fails once, then succeeds": (b'{"fails": 1}', HEADS),
    "fails for good": (b'{"fails": 99}', HEADS),
    "has no handler here": (b"{}", HEADS | {"job_name": "unheard_of"}),
    "does not decode, but names its instance": (b"[]", HEADS),
    "does not decode at all": (b"[]", {"job_name": "paint"}),
    "points at a job that is not there": (b"", HEADS | {"job_id": "00000000-0000-4000-8000-0000000000bb"}),
    "lacks a count": (b"{}", {"job_name": "paint", "orchestration_id": ORCHESTRATION}),
}


def _killed(world: World, flight: Flight) -> None:
    assert flight.worker is not None
    world.kill(flight.worker)


def _cancelled(world: World, flight: Flight) -> None:
    flight.step(CANCELLED())


def _failed(world: World, flight: Flight) -> None:
    flight.step(ValueError("the item can't be stored"))


FAULTS: dict[str, Callable[[World, Flight], None]] = {"killed": _killed, "cancelled": _cancelled, "raises": _failed}


def _awaits_of(data: bytes, attributes: dict[str, str]) -> int:
    world = World()
    world.publish(data, attributes)
    world.arrive()
    flight = world.deliver(world.worker())
    while not flight.over:
        flight.step()
    return flight.steps


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_crash_at_any_await_loses_and_doubles_nothing(kind: str, fault: str) -> None:
    data, attributes = MESSAGES[kind]
    awaits = _awaits_of(data, attributes)
    assert awaits >= 2
    for point in range(1, awaits + 1):
        world = World()
        world.publish(data, attributes)
        world.arrive()
        flight = world.deliver(world.worker())
        for _ in range(point):
            flight.step()
        FAULTS[fault](world, flight)
        world.recover()
        judge_the_end(world)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", range(1, 6))
@pytest.mark.parametrize("second", range(1, 6))
def test_two_crashes_in_a_row_are_no_worse_than_one(first: int, second: int, fault: str) -> None:
    world = World()
    world.publish(b'{"fails": 1}', HEADS)
    world.arrive()
    for point in (first, second):
        if not world.queue:
            world.relay()
            world.tables.now += 1000
        while world.flights and not world.queue:
            world.flights[0].step()
            world.answer()
            world.arrive()
        if not world.queue:
            break
        flight = world.deliver(world.worker())
        for _ in range(point):
            if not flight.over:
                flight.step()
        if not flight.over:
            FAULTS[fault](world, flight)
        for worker in world.workers:
            world.compare(worker) if worker.alive else world.rescue(worker)
        world.answer()
    world.recover()
    judge_the_end(world)


@pytest.mark.parametrize("point", range(1, 6))
def test_a_relay_that_dies_at_any_await_publishes_every_event_with_one_id(point: int) -> None:
    world = World()
    world.publish(b"{}", HEADS)
    world.arrive()
    flight = world.deliver(world.worker())
    while not flight.over:
        flight.step()
    relay = world.relay()
    for _ in range(point):
        if not relay.over:
            relay.step()
    relay.lose()
    world.recover()
    judge_the_end(world)
    assert world.tables.groups[UUID(ORCHESTRATION)].event_published


def test_an_ack_before_the_commit_would_be_noticed() -> None:
    world = World()
    world.publish(b"{}", HEADS)
    world.arrive()
    flight = world.deliver(world.worker())
    for _ in range(3):
        flight.step()
    assert flight.delivery is not None
    with pytest.raises(AssertionError, match="before the attempt's settlement"):
        flight.delivery.ack()
    flight.delivery.reply = None
    world.recover()
    judge_the_end(world)


def test_a_job_without_a_future_would_be_noticed() -> None:
    world = World()
    world.publish(b'{"fails": 1}', HEADS)
    world.arrive()
    flight = world.deliver(world.worker())
    while not flight.over:
        flight.step()
    row = next(iter(world.tables.jobs.values()))
    assert row.status is Status.IN_PROGRESS
    row.publish_at = None
    with pytest.raises(AssertionError, match="stuck"):
        world.recover()
