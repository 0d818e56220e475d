"""Intake stops and comes back: pause and resume, close, and messages that were never started."""

import asyncio
import threading
import time

import pytest

from daemon.delivery import Delivery
from daemon.local.pubsub_process import PubSubProcess
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.resources import DesiredResources, SubscriptionSpec, TopicSpec, provision
from daemon.pubsub.streaming_pull import THREAD, StreamingPull
from tests.contract.google_client.conftest import Bus, Heard, for_a_while
from tests.harness.waiting import until


async def test_a_pause_keeps_running_deliveries_leased_and_their_acks_count(bus: Bus) -> None:
    await bus.publish(b"a", b"b")
    async with bus.pulling(lease_seconds=10) as inbox:
        await until(lambda: len(inbox.deliveries) == 2)
        inbox.pull.pause()
        assert inbox.pull.paused
        await until(lambda: bus.figures()["receivers"] == 0)
        await for_a_while(11, lambda: bus.figures()["expired"] == 0)
        inbox.deliveries[0].ack()
        await until(lambda: bus.figures()["acked"] == 1)
        inbox.deliveries[1].ack()
        await until(lambda: bus.figures()["acked"] == 2)
    assert bus.figures()["nacked"] == 0


async def test_a_pause_gives_back_what_was_not_received(bus: Bus) -> None:
    await bus.publish(*(b"%d" % number for number in range(30)))
    async with bus.pulling() as inbox:
        inbox.on_delivery = lambda delivery: inbox.pull.pause()
        await until(lambda: inbox.deliveries)
        await until(lambda: bus.figures()["outstanding"] == len(inbox.deliveries))
        await for_a_while(0.3, lambda: bus.figures()["backlog"] == 30 - len(inbox.deliveries))
        assert len(inbox.deliveries) < 30


async def test_nothing_arrives_during_a_pause_and_a_resume_brings_the_rest(bus: Bus) -> None:
    async with bus.pulling(lambda delivery: delivery.ack()) as inbox:
        await bus.publish(b"before")
        await until(lambda: inbox.bodies == [b"before"])
        inbox.pull.pause()
        await bus.publish(b"during")
        await for_a_while(0.5, lambda: inbox.bodies == [b"before"])
        await inbox.pull.resume()
        assert not inbox.pull.paused
        await until(lambda: inbox.bodies == [b"before", b"during"])
        await until(lambda: bus.figures()["acked"] == 2)


async def test_running_deliveries_of_before_a_pause_count_after_the_resume(bus: Bus) -> None:
    await bus.publish(*(b"%d" % number for number in range(20)))
    async with bus.pulling(slots=4) as inbox:
        await until(lambda: len(inbox.deliveries) == 4)
        inbox.pull.pause()
        inbox.deliveries[0].ack()
        await inbox.pull.resume()
        await until(lambda: len(inbox.deliveries) == 5)
        await for_a_while(0.8, lambda: len(inbox.deliveries) == 5)
        for delivery in inbox.deliveries[:5]:
            delivery.ack()
        await until(lambda: len(inbox.deliveries) == 9, within=2)


async def test_a_pause_from_another_thread_works_while_the_loop_is_stuck(bus: Bus) -> None:
    async with bus.pulling() as inbox:
        await until(lambda: bus.figures()["receivers"] == 1)
        pausing = threading.Timer(0.1, inbox.pull.pause)
        pausing.start()
        await bus.publish(*(b"%d" % number for number in range(10)))
        end = time.monotonic() + 1.0
        while time.monotonic() < end:  # the loop does nothing else
            pass
        assert bus.figures()["receivers"] == 0
        received = len(inbox.deliveries)
        await until(lambda: bus.figures()["outstanding"] == received)
        assert len(inbox.deliveries) == received


async def test_close_gives_back_what_is_running_and_late_replies_do_no_harm(bus: Bus) -> None:
    await bus.publish(b"a", b"b", b"c")
    async with bus.pulling() as inbox:
        await until(lambda: len(inbox.deliveries) == 3)
        inbox.deliveries[0].ack()
        await inbox.pull.close(5)
        figures = bus.figures()
        assert (figures["acked"], figures["outstanding"], figures["backlog"]) == (1, 0, 2)
        inbox.deliveries[1].ack()
        inbox.deliveries[2].nack()
        await inbox.pull.close(5)
        await inbox.pull.resume()
    assert bus.figures()["acked"] == 1


async def test_close_ends_the_thread_of_the_streams(bus: Bus) -> None:
    async with bus.pulling(lambda delivery: delivery.ack(), streams=2):
        assert _threads()
        await bus.publish(b"a", b"b")
        await until(lambda: bus.figures()["acked"] == 2)
    await until(lambda: not _threads(), what="no thread is left")


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD]


async def test_close_without_open_is_nothing(bus: Bus) -> None:
    pull = bus.inbox().pull
    pull.pause()
    await pull.close(1)


async def test_close_returns_in_time_although_the_server_is_gone(
    own_pubsub: PubSubProcess, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", own_pubsub.address)
    topic, subscription = f"projects/{project}/topics/jobs", f"projects/{project}/subscriptions/jobs-worker"
    await provision(DesiredResources((TopicSpec(topic),), (SubscriptionSpec(subscription, topic),)))
    publisher = Publisher()
    await publisher.publish(topic, [(b"%d" % number, {}) for number in range(20)])
    await publisher.close()
    deliveries: list[Delivery] = []
    pull = StreamingPull(subscription, slots=20, prefetch=0, busy=lambda: 0, lease_seconds=60, observer=Heard())
    await pull.open(deliveries.append, lambda error: None)
    await until(lambda: len(deliveries) == 20)
    own_pubsub.crash()
    for delivery in deliveries[:10]:
        delivery.ack()
    began = time.monotonic()
    await pull.close(1.5)
    assert time.monotonic() - began < 2.5
    await asyncio.sleep(0)
