"""Publishing in whole batches, and pulling a few by hand."""

import asyncio
import time

import pytest

from daemon.errors import PublishFailed, SubscriptionNotReady
from daemon.pubsub.publisher import MAX_BYTES, Publisher
from daemon.pubsub.puller import Puller
from tests.contract.google_client.conftest import Bus
from tests.harness.waiting import until


async def test_a_batch_over_the_limit_of_bytes_is_split(bus: Bus) -> None:
    bodies = [bytes([number]) * 1_000_000 for number in range(12)]
    assert sum(map(len, bodies)) > MAX_BYTES
    await bus.publish(*bodies)
    async with bus.pulling(lambda delivery: delivery.ack()) as inbox:
        await until(lambda: len(inbox.deliveries) == 12)
        assert inbox.bodies == bodies


async def test_a_batch_over_the_limit_of_messages_is_split(bus: Bus) -> None:
    await bus.publish(*(b"%d" % number for number in range(2_345)))
    await until(lambda: bus.figures()["published"] == 2_345)


async def test_many_tasks_publish_at_once(bus: Bus) -> None:
    await asyncio.gather(*(bus.publish(b"%d" % number) for number in range(200)))
    assert bus.figures()["published"] == 200


async def test_nothing_is_published_for_an_empty_batch(bus: Bus) -> None:
    await bus.publisher.publish("projects/none/topics/none", [])


async def test_a_missing_topic_is_named_with_the_command_that_makes_it(bus: Bus) -> None:
    with pytest.raises(PublishFailed, match=rf"topic {bus.topic}-x does not exist.*headcount provision"):
        await bus.publisher.publish(f"{bus.topic}-x", [(b"", {"a": "b"})])


async def test_what_the_service_refuses_fails_with_its_reason(bus: Bus) -> None:
    with pytest.raises(PublishFailed, match="refused 1 messages"):
        await bus.publisher.publish(bus.topic, [(b"", {})])


async def test_an_outage_fails_within_the_retry_timeout_and_a_short_one_is_not_noticed(bus: Bus) -> None:
    hasty = Publisher(timeout=1, retry_timeout=0.5)
    bus.control.go_away()
    began = time.monotonic()
    with pytest.raises(PublishFailed, match="did not confirm 1 messages"):
        await hasty.publish(bus.topic, [(b"x", {})])
    assert time.monotonic() - began < 3
    bus.control.go_away(0.5)
    await bus.publish(b"y")
    await until(lambda: bus.figures()["published"] == 1)
    await hasty.close()


async def test_a_closed_publisher_opens_again(bus: Bus) -> None:
    await bus.publish(b"a")
    await bus.publisher.close()
    await bus.publish(b"b")
    assert bus.figures()["published"] == 2


async def test_a_pull_brings_what_is_there_and_an_acknowledged_message_never_again(bus: Bus) -> None:
    await bus.publisher.publish(bus.topic, [(b"%d" % number, {"job_name": "x"}) for number in range(5)])
    puller = Puller()
    pulled = await puller.pull(bus.subscription, 10, 5)
    assert [one.data for one in pulled] == [b"0", b"1", b"2", b"3", b"4"]
    assert pulled[0].attributes == {"job_name": "x"}
    assert pulled[0].message_id
    assert abs(pulled[0].publish_time - time.time()) < 60
    await puller.acknowledge(bus.subscription, [one.ack_id for one in pulled])
    assert bus.figures()["acked"] == 5
    await puller.close()


async def test_a_pull_of_nothing_ends_when_its_time_is_over(bus: Bus) -> None:
    puller = Puller()
    began = time.monotonic()
    assert await puller.pull(bus.subscription, 10, 0.3) == []
    assert time.monotonic() - began < 2
    await puller.acknowledge(bus.subscription, [])
    await puller.close()


async def test_a_pull_from_a_missing_subscription_is_told(bus: Bus) -> None:
    puller = Puller()
    with pytest.raises(SubscriptionNotReady, match=f"{bus.subscription}-x does not exist.*headcount provision"):
        await puller.pull(f"{bus.subscription}-x", 1, 1)
    await puller.close()
