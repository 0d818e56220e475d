"""The relay: nothing is published before its lease, and what could not be published is due again."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import uuid4

import pytest

from daemon.engine.relay import BATCH, Relay
from daemon.errors import PublishFailed
from daemon.job import JobMessage
from daemon.orchestration import CompletedOrchestration
from daemon.rules.events import encode_event
from daemon.rules.messages import decode, encode, instance_id
from tests.fakes.bus import MemoryBus, Message
from tests.fakes.delivery import MESSAGE, ORCHESTRATION
from tests.fakes.event_outbox import MemoryEventOutbox
from tests.fakes.job_outbox import REFUSED, MemoryJobOutbox
from tests.fakes.observer import Listening
from tests.fakes.rows import Group
from tests.fakes.tables import Tables


def _tables(jobs: int) -> Tables:
    tables = Tables()
    for index in range(jobs):
        message = JobMessage("paint", instance_id(ORCHESTRATION, index), ORCHESTRATION, index, jobs, "{}")
        tables.insert(message)
    return tables


def _jobs(tables: Tables, bus: MemoryBus, heard: Listening | None = None) -> Relay[JobMessage]:
    return Relay("job", MemoryJobOutbox(tables), bus, "jobs", encode, heard or Listening())


def _events(tables: Tables, bus: MemoryBus, heard: Listening) -> Relay[CompletedOrchestration]:
    as_event = partial(encode_event, source="//tests")
    return Relay("event", MemoryEventOutbox(tables), bus, "events", as_event, heard)


async def test_due_jobs_are_published_once_with_the_name_to_filter_on() -> None:
    tables, bus, heard = _tables(3), MemoryBus(), Listening()
    relay = _jobs(tables, bus, heard)
    assert await relay.publish_due() is False
    assert await relay.publish_due() is False
    sent = bus.take("jobs")
    assert {decode(data, attributes, "1").index for data, attributes in sent} == {0, 1, 2}
    assert all(attributes["job_name"] == "paint" and data == b"" for data, attributes in sent)
    assert heard.all("published") == [("job", 3)]


async def test_a_full_batch_says_that_there_may_be_more() -> None:
    tables, bus = _tables(BATCH + 1), MemoryBus()
    relay = _jobs(tables, bus)
    assert await relay.publish_due() is True
    assert await relay.publish_due() is False
    assert len(bus.take("jobs")) == BATCH + 1


async def test_nothing_is_published_before_its_lease_is_committed() -> None:
    tables = _tables(2)
    seen: list[bool] = []

    async def look(where: str) -> None:
        if where == "before publish":
            seen.append(all(row.publish_at and row.publish_at > tables.now for row in tables.jobs.values()))

    await _jobs(tables, MemoryBus(look)).publish_due()
    assert seen == [True]


async def test_what_was_published_is_not_due_again_for_long() -> None:
    tables = _tables(2)
    await _jobs(tables, MemoryBus()).publish_due()
    assert {row.publish_at for row in tables.jobs.values()} == {100.0}


async def test_a_job_that_was_claimed_while_it_was_published_gets_no_date() -> None:
    tables = _tables(1)
    row = next(iter(tables.jobs.values()))

    async def claim(where: str) -> None:
        row.attempt, row.publish_at = 1, None

    await _jobs(tables, MemoryBus(claim)).publish_due()
    assert row.publish_at is None


async def test_what_the_bus_refused_is_due_again() -> None:
    tables, bus, heard = _tables(2), MemoryBus(), Listening()
    bus.broken = True
    relay = _jobs(tables, bus, heard)
    with pytest.raises(PublishFailed):
        await relay.publish_due()
    assert all(row.publish_at == tables.now for row in tables.jobs.values())
    assert [arguments[:2] for arguments in heard.all("publish_failed")] == [("job", 2)]
    bus.broken = False
    await relay.publish_due()
    assert len(bus.take("jobs")) == 2


async def test_a_publish_that_is_cancelled_leaves_its_jobs_due() -> None:
    tables, hanging = _tables(2), asyncio.Event()

    async def hang(where: str) -> None:
        hanging.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(_jobs(tables, MemoryBus(hang)).publish_due())
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(row.publish_at == tables.now for row in tables.jobs.values())


async def test_a_job_that_was_claimed_meanwhile_is_not_requeued() -> None:
    tables = _tables(1)
    row = next(iter(tables.jobs.values()))

    async def claim(where: str) -> None:
        row.attempt, row.publish_at = 1, None

    bus = MemoryBus(claim)
    bus.broken = True
    with pytest.raises(PublishFailed):
        await _jobs(tables, bus).publish_due()
    assert row.publish_at is None


async def test_an_event_is_marked_only_after_it_went_out() -> None:
    tables, bus, heard = Tables(), MemoryBus(), Listening()
    group = tables.groups[ORCHESTRATION] = Group(ORCHESTRATION, 1, completed=1, first=MESSAGE, ended=5.0)
    relay = _events(tables, bus, heard)
    bus.broken = True
    with pytest.raises(PublishFailed):
        await relay.publish_due()
    assert not group.event_published
    bus.broken = False
    assert await relay.publish_due() is False
    assert group.event_published
    [(_, attributes)] = bus.take("events")
    assert attributes["outcome"] == "Completed"
    assert attributes["ce-source"] == "//tests"
    assert [one[0] for one in heard.heard] == ["publish_failed", "published"]
    await relay.publish_due()
    assert bus.take("events") == []


def _index(message: Message) -> int:
    return decode(message[0], message[1], "1").index


async def test_a_refused_message_stands_alone_before_long_and_all_others_go_out() -> None:
    tables, bus, heard = _tables(500), MemoryBus(), Listening()
    bus.refuses = lambda message: _index(message) in (7, 300)
    assert await _jobs(tables, bus, heard).publish_due() is True  # a full batch: there may be more
    assert {_index(one) for one in bus.take("jobs")} == set(range(500)) - {7, 300}
    assert bus.calls < 50
    refused = {str(instance_id(ORCHESTRATION, index)) for index in (7, 300)}
    assert {name for _, name, _ in heard.all("publish_refused")} == refused
    dates = {str(job_id): row.publish_at for job_id, row in tables.jobs.items()}
    assert {dates[name] for name in refused} == {REFUSED}
    assert {date for name, date in dates.items() if name not in refused} == {100.0}


async def test_a_batch_that_fails_for_a_reason_that_passes_is_not_split() -> None:
    tables, bus = _tables(50), MemoryBus()
    bus.broken = True
    with pytest.raises(PublishFailed):
        await _jobs(tables, bus).publish_due()
    assert bus.calls == 1
    assert all(row.publish_at == tables.now for row in tables.jobs.values())


async def test_what_went_out_before_the_bus_broke_is_marked_and_the_rest_is_due() -> None:
    tables, heard = _tables(8), Listening()

    async def break_later(where: str) -> None:
        if where == "published":
            bus.broken = True

    bus = MemoryBus(break_later)
    bus.refuses = lambda message: _index(message) == 7
    with pytest.raises(PublishFailed):
        await _jobs(tables, bus, heard).publish_due()
    assert len(bus.take("jobs")) == 4
    assert sorted(row.publish_at or 0.0 for row in tables.jobs.values()) == [0.0] * 4 + [100.0] * 4


async def test_a_refused_event_holds_up_no_other() -> None:
    tables, bus, heard = Tables(), MemoryBus(), Listening()
    bad, good = uuid4(), uuid4()
    for key in (bad, good):
        tables.groups[key] = Group(ORCHESTRATION, 1, completed=1, first=MESSAGE, ended=5.0)
    bus.refuses = lambda message: message[1]["orchestration_id"] == str(bad)
    await _events(tables, bus, heard).publish_due()
    assert (tables.groups[bad].event_published, tables.groups[good].event_published) == (False, True)
    assert [arguments[:2] for arguments in heard.all("publish_refused")] == [("event", str(bad))]
    assert tables.groups[bad].event_at == tables.now + REFUSED
