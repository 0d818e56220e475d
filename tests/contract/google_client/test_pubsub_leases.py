"""Receipts, leases and the order of replies: what leaves for Pub/Sub, and when."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import ModifyAckDeadlineRequest

from tests.contract.google_client.conftest import Bus, for_a_while
from tests.harness.waiting import until


@dataclass
class Wire:
    """The ModifyAckDeadline calls of this process: seconds and ack ids, in the order in which they left.

    `hold` keeps the calls that lease something from leaving; `refusals` is how many are refused.
    """

    calls: list[tuple[int, list[str]]] = field(default_factory=list)
    hold: bool = False
    refusals: int = 0

    def of(self, seconds: int) -> list[list[str]]:
        return [ids for length, ids in self.calls if length == seconds]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire, plain = Wire(), SubscriberAsyncClient.modify_ack_deadline

    async def overheard(client: SubscriberAsyncClient, request: ModifyAckDeadlineRequest, **options: Any) -> None:
        seconds = request.ack_deadline_seconds
        wire.calls.append((seconds, list(request.ack_ids)))
        if seconds:
            await until(lambda: not wire.hold)
        if wire.refusals:
            wire.refusals -= 1
            raise ServiceUnavailable("refused by a test")
        await plain(client, request, **options)

    monkeypatch.setattr(SubscriberAsyncClient, "modify_ack_deadline", overheard)
    return wire


async def test_each_response_has_one_receipt_for_all_its_messages_which_holds_none_of_them_up(
    bus: Bus, wire: Wire
) -> None:
    wire.hold = True
    await bus.publish(*(b"%d" % number for number in range(50)))
    async with bus.pulling() as inbox:
        await until(lambda: len(inbox.deliveries) == 50)
        assert sum(len(ids) for ids in wire.of(30)) == 50
        assert len(wire.of(30)) < 10
        assert bus.figures()["receipts"] == 0, "they are still on their way"
        wire.hold = False
        await until(lambda: bus.figures()["receipts"] == 50)


@pytest.mark.long
async def test_what_runs_is_leased_for_long_and_what_waits_briefly_and_both_are_renewed_in_time(
    bus: Bus, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.pubsub.leases.WAITING_SECONDS", 10)
    await bus.publish(b"runs", b"waits")
    async with bus.pulling(lease_seconds=15) as inbox:
        await until(lambda: len(inbox.deliveries) == 2)
        [runs] = [one for one in inbox.deliveries if one.data == b"runs"]
        assert runs.start()
        await until(lambda: len(wire.of(15)) >= 2, within=20)
        assert {len(ids) for ids in wire.of(15)} == {1}
        assert [len(ids) for ids in wire.of(10)[-2:]] == [1, 1]
        await for_a_while(5, lambda: bus.figures()["expired"] == 0)


async def test_a_nack_waits_for_the_answer_to_its_receipt(bus: Bus, wire: Wire) -> None:
    wire.hold = True
    await bus.publish(b"x")
    async with bus.pulling() as inbox:
        await until(lambda: inbox.deliveries)
        inbox.deliveries[0].nack()
        await for_a_while(0.5, lambda: not wire.of(0))
        wire.hold = False
        await until(lambda: len(inbox.deliveries) == 2)
        assert [seconds for seconds, _ in wire.calls[:2]] == [30, 0]


async def test_a_refused_receipt_is_sent_again_and_a_refused_nack_too(bus: Bus, wire: Wire) -> None:
    wire.refusals = 1
    await bus.publish(b"x")
    async with bus.pulling() as inbox:
        await until(lambda: inbox.deliveries)
        await until(lambda: bus.figures()["receipts"] == 1, within=10)
        wire.refusals = 2
        inbox.deliveries[0].nack()
        await until(lambda: len(inbox.deliveries) == 2)


async def test_what_comes_beyond_slots_and_prefetch_goes_back_at_once_without_being_leased(
    bus: Bus, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a server that knows no limit, as Google's emulator is one: here the limit never reaches it."""
    plain = SubscriberAsyncClient.streaming_pull

    def unlimited(client: SubscriberAsyncClient, requests: AsyncIterator[Any], **options: Any) -> Any:
        async def changed() -> AsyncIterator[Any]:
            async for request in requests:
                request.max_outstanding_messages = 0
                yield request

        return plain(client, changed(), **options)

    monkeypatch.setattr(SubscriberAsyncClient, "streaming_pull", unlimited)
    await bus.publish(*(b"%d" % number for number in range(10)))
    async with bus.pulling(slots=2, prefetch=1) as inbox:
        await until(lambda: bus.figures()["nacked"] >= 7)
        taken = [one for ids in wire.of(30) for one in ids]
        assert len(inbox.deliveries) == len(taken) == 3
        assert not {one for ids in wire.of(0) for one in ids} & set(taken)
        assert {why for _, why in inbox.observer.given_back} == {"over_capacity"}


@pytest.mark.long
async def test_a_blocked_event_loop_keeps_the_leases_of_what_runs_and_gives_back_what_waits(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.pubsub.streaming_pull.LOOP_SECONDS", 4.0)
    await bus.publish(b"runs", b"waits")
    async with bus.pulling(lease_seconds=10) as inbox:
        await until(lambda: len(inbox.deliveries) == 2)
        runs, waits = inbox.deliveries
        assert runs.start()
        end = time.monotonic() + 16
        while time.monotonic() < end:
            time.sleep(0.1)  # noqa: ASYNC251 - this is the fault
        figures = bus.figures()
        assert (figures["expired"], figures["nacked"], figures["outstanding"]) == (0, 1, 1)
        assert figures["receivers"] == 0, "nothing more is taken in meanwhile"
        assert not waits.start(), "it has been given back"
        await until(lambda: len(inbox.deliveries) == 3, within=10)
        runs.ack()
        await until(lambda: bus.figures()["acked"] == 1)
        assert (1, "event_loop_blocked") in inbox.observer.given_back
