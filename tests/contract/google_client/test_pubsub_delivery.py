"""What a delivery carries, what its replies do, and how many there are at a time."""

import time

import pytest

from daemon.delivery import Delivery
from daemon.pubsub.resources import DesiredResources, SubscriptionSpec, TopicSpec, provision
from tests.contract.google_client.conftest import Bus, for_a_while
from tests.harness.waiting import until


async def test_a_delivery_carries_what_was_published(bus: Bus) -> None:
    before = time.time()
    await bus.publisher.publish(bus.topic, [(b"\x00\xffbody", {"job_name": "a", "tag.customer": "42"})])
    async with bus.pulling() as inbox:
        await until(lambda: inbox.deliveries)
        delivery = inbox.deliveries[0]
        assert delivery.data == b"\x00\xffbody"
        assert delivery.attributes == {"job_name": "a", "tag.customer": "42"}
        assert delivery.attributes.get("absent") is None
        assert delivery.message_id
        assert before - 5 < delivery.publish_time < time.time() + 5
        assert delivery.delivery_attempt is None
        delivery.ack()
        assert delivery.data == b"\x00\xffbody"


async def test_deliveries_are_counted_where_dead_letters_make_the_service_count(bus: Bus, project: str) -> None:
    dead = f"projects/{project}/topics/dead"
    counted = SubscriptionSpec(f"{bus.subscription}-2", bus.topic, dead_letter_topic=dead)
    await provision(DesiredResources((TopicSpec(dead),), (counted,)))
    await bus.publish(b"x")
    bus.subscription = counted.name
    async with bus.pulling() as inbox:
        await until(lambda: inbox.deliveries)
        inbox.deliveries[0].nack()
        await until(lambda: len(inbox.deliveries) == 2)
        assert [delivery.delivery_attempt for delivery in inbox.deliveries] == [1, 2]


async def test_an_ack_is_final(bus: Bus) -> None:
    await bus.publish(*(b"%d" % number for number in range(50)))
    async with bus.pulling(lambda delivery: delivery.ack()) as inbox:
        await until(lambda: bus.figures()["acked"] == 50)
        assert len(inbox.deliveries) == 50
    figures = bus.figures()
    assert (figures["outstanding"], figures["backlog"], figures["nacked"]) == (0, 0, 0)


async def test_a_nack_brings_the_same_message_again(bus: Bus) -> None:
    await bus.publish(b"again")
    async with bus.pulling() as inbox:
        await until(lambda: inbox.deliveries)
        inbox.deliveries[0].nack()
        await until(lambda: len(inbox.deliveries) == 2)
        first, second = inbox.deliveries
        assert first.message_id == second.message_id
        second.ack()
        await until(lambda: bus.figures()["acked"] == 1)


async def test_the_first_reply_counts(bus: Bus) -> None:
    await bus.publish(b"a", b"b")
    async with bus.pulling() as inbox:
        await until(lambda: len(inbox.deliveries) == 2)
        for delivery in inbox.deliveries:
            delivery.ack()
            delivery.nack()
            delivery.ack()
        await until(lambda: bus.figures()["acked"] == 2)
    assert bus.figures()["nacked"] == 0


async def test_a_burst_is_handed_over_whole_in_order_and_quickly(bus: Bus) -> None:
    count = 20_000
    await bus.publish(*(b"%d" % number for number in range(count)))
    began = time.monotonic()
    async with bus.pulling(lambda delivery: delivery.ack(), slots=1_000) as inbox:
        await until(lambda: len(inbox.deliveries) == count, within=30)
        assert count / (time.monotonic() - began) > 1_000
        assert [int(body) for body in inbox.bodies] == list(range(count))
        await until(lambda: bus.figures()["acked"] == count)


async def test_a_receiver_that_raises_gives_the_message_back_and_stops_nothing(bus: Bus) -> None:
    raised: list[Delivery] = []

    def receive(delivery: Delivery) -> None:
        if not raised:
            raised.append(delivery)
            raise RuntimeError("receive is not meant to raise")
        delivery.ack()

    await bus.publish(b"a", b"b")
    async with bus.pulling(receive):
        await until(lambda: bus.figures()["acked"] == 2)
    assert bus.figures()["nacked"] == 1


async def test_no_slot_stays_idle_while_there_is_a_backlog_and_none_is_exceeded(bus: Bus) -> None:
    """Ten slots and nothing ahead: the library alone reads on only when three of them are free."""
    await bus.publish(*(b"%d" % number for number in range(60)))
    async with bus.pulling(slots=10) as inbox:
        await until(lambda: len(inbox.deliveries) == 10)
        await for_a_while(0.3, lambda: len(inbox.deliveries) == 10)
        for ended in range(50):
            inbox.deliveries[ended].ack()
            await until(lambda ended=ended: len(inbox.deliveries) == ended + 11, within=1)
        assert bus.figures()["outstanding"] <= 11  # the last ack may be on its way


async def test_a_stream_that_carries_all_it_can_gets_a_second_one_and_nothing_is_lost(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.pubsub.flow_control.FULL_BYTES", 1_000)
    monkeypatch.setattr("daemon.pubsub.flow_control.MOST_STREAMS", 2)
    sent = 0
    async with bus.pulling(lambda delivery: delivery.ack(), slots=200) as inbox:

        async def widened() -> bool:
            nonlocal sent
            await bus.publish(*(b"x" * 100 for _ in range(20)))
            sent += 20
            return bus.figures()["receivers"] == 2

        await until(widened, within=120)  # hungry at every look for 2 s: rare on a crowded machine
        await bus.publish(b"the last one")
        await until(lambda: bus.figures()["acked"] == sent + 1)
        assert len(inbox.deliveries) == sent + 1


async def test_several_streams_share_the_number_of_messages(bus: Bus) -> None:
    await bus.publish(*(b"%d" % number for number in range(40)))
    async with bus.pulling(slots=10, streams=3) as inbox:
        await until(lambda: len(inbox.deliveries) == 10)
        assert bus.figures()["receivers"] == 3
        await for_a_while(0.3, lambda: len(inbox.deliveries) == 10)
        for ended in range(30):
            inbox.deliveries[ended].ack()
            await until(lambda ended=ended: len(inbox.deliveries) == ended + 11, within=1)
