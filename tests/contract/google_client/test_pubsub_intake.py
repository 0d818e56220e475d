"""Intake stops and comes back: pause and resume, close, and messages that were never started."""

import asyncio
import threading
import time
from collections.abc import Iterable

import pytest

from daemon.delivery import Delivery
from daemon.local.pubsub_process import PubSubProcess
from daemon.pubsub.client import Client
from daemon.pubsub.leases import Leases
from daemon.pubsub.publisher import Publisher
from daemon.pubsub.resources import Wanted, WantedSubscription, WantedTopic, provision
from daemon.pubsub.subscriber import Subscriber
from tests.contract.google_client.conftest import Bus, Heard, for_a_while
from tests.harness.waiting import until


async def test_a_pause_keeps_running_deliveries_leased_and_their_acks_count(bus: Bus) -> None:
    await bus.publish(b"a", b"b")
    async with bus.pulling(lease_seconds=10) as inbox:
        await until(lambda: len(inbox.deliveries) == 2)
        inbox.subscriber.pause()
        assert inbox.subscriber.paused
        await until(lambda: bus.figures()["receivers"] == 0)
        await for_a_while(11, lambda: bus.figures()["expired"] == 0)
        inbox.deliveries[0].ack()
        await until(lambda: bus.figures()["acked"] == 1)
        inbox.deliveries[1].ack()
        await until(lambda: bus.figures()["acked"] == 2)
    assert bus.figures()["nacked"] == 0


async def test_the_client_renews_what_has_begun_for_the_whole_lease_and_what_waits_for_less(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[int, list[str]]] = []
    plain = Leases.measured

    def overheard(leases: Leases, ack_ids: Iterable[str], seconds: int) -> list[tuple[int, list[str]]]:
        lengths = plain(leases, ack_ids, seconds)
        measured.extend(lengths)
        return lengths

    monkeypatch.setattr(Leases, "measured", overheard)
    monkeypatch.setattr("daemon.pubsub.leases.RENEWAL_SECONDS", 10)
    await bus.publish(b"begins", b"waits")
    async with bus.pulling() as inbox:
        await until(lambda: len(inbox.deliveries) == 2)
        assert inbox.deliveries[0].attributes == {"job_name": "test"}
        measured.clear()
        await until(lambda: {length: len(ids) for length, ids in measured} == {60: 1, 30: 1}, within=20)
        for delivery in inbox.deliveries:
            delivery.ack()


async def test_a_message_that_stays_has_a_receipt_soon_and_one_that_is_acked_at_once_has_none(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    leased: list[str] = []
    plain = Client.lease

    def overheard(client: Client, ack_ids: list[str]) -> None:
        plain(client, ack_ids)
        leased.extend(ack_ids)

    monkeypatch.setattr(Client, "lease", overheard)
    monkeypatch.setattr("daemon.pubsub.receipts.PAUSE", 1.0)
    await bus.publish(*(b"%d" % number for number in range(20)))
    async with bus.pulling(lambda delivery: None if delivery.data == b"7" else delivery.ack()) as inbox:
        await until(lambda: bus.figures()["acked"] == 19)
        await until(lambda: len(leased) == 1)
        await for_a_while(0.5, lambda: len(leased) == 1)
        [delivery] = [one for one in inbox.deliveries if one.data == b"7"]
        delivery.ack()


async def test_a_pause_gives_back_what_was_not_received(bus: Bus) -> None:
    await bus.publish(*(b"%d" % number for number in range(30)))
    async with bus.pulling() as inbox:
        inbox.on_delivery = lambda delivery: inbox.subscriber.pause()
        await until(lambda: inbox.deliveries)
        await until(lambda: bus.figures()["outstanding"] == len(inbox.deliveries))
        await for_a_while(0.3, lambda: bus.figures()["backlog"] == 30 - len(inbox.deliveries))
        assert len(inbox.deliveries) < 30


async def test_nothing_arrives_during_a_pause_and_a_resume_brings_the_rest(bus: Bus) -> None:
    async with bus.pulling(lambda delivery: delivery.ack()) as inbox:
        await bus.publish(b"before")
        await until(lambda: inbox.bodies == [b"before"])
        inbox.subscriber.pause()
        await bus.publish(b"during")
        await for_a_while(0.5, lambda: inbox.bodies == [b"before"])
        await inbox.subscriber.resume()
        assert not inbox.subscriber.paused
        await until(lambda: inbox.bodies == [b"before", b"during"])
        await until(lambda: bus.figures()["acked"] == 2)


async def test_running_deliveries_of_before_a_pause_count_after_the_resume(bus: Bus) -> None:
    await bus.publish(*(b"%d" % number for number in range(20)))
    async with bus.pulling(max_messages=4) as inbox:
        await until(lambda: len(inbox.deliveries) == 4)
        inbox.subscriber.pause()
        inbox.deliveries[0].ack()
        await inbox.subscriber.resume()
        await until(lambda: len(inbox.deliveries) == 5)
        await for_a_while(0.8, lambda: len(inbox.deliveries) == 5)
        for delivery in inbox.deliveries[:5]:
            delivery.ack()
        await until(lambda: len(inbox.deliveries) == 9, within=2)


async def test_a_pause_from_another_thread_works_while_the_loop_is_stuck(bus: Bus) -> None:
    async with bus.pulling() as inbox:
        await until(lambda: bus.figures()["receivers"] == 1)
        pausing = threading.Timer(0.1, inbox.subscriber.pause)
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
        await inbox.subscriber.close(5)
        figures = bus.figures()
        assert (figures["acked"], figures["outstanding"], figures["backlog"]) == (1, 0, 2)
        inbox.deliveries[1].ack()
        inbox.deliveries[2].nack()
        await inbox.subscriber.close(5)
        await inbox.subscriber.resume()
    assert bus.figures()["acked"] == 1


THREADS = ("Thread-Consume", "Thread-Callback", "Thread-Lease", "Thread-Heart", "Thread-Regular", "headcount-streams")


async def test_close_ends_the_threads_of_the_client(bus: Bus) -> None:
    async with bus.pulling(lambda delivery: delivery.ack(), streams=2):
        assert _threads()
        await bus.publish(b"a", b"b")
        await until(lambda: bus.figures()["acked"] == 2)
    await until(lambda: not _threads(), what="no thread is left")


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREADS)]


async def test_close_without_open_is_nothing(bus: Bus) -> None:
    subscriber = bus.subscriber().subscriber
    subscriber.pause()
    await subscriber.close(1)


async def test_close_returns_in_time_although_the_server_is_gone(
    own_pubsub: PubSubProcess, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", own_pubsub.address)
    topic, subscription = f"projects/{project}/topics/jobs", f"projects/{project}/subscriptions/jobs-worker"
    await provision(Wanted((WantedTopic(topic),), (WantedSubscription(subscription, topic),)))
    publisher = Publisher()
    await publisher.publish(topic, [(b"%d" % number, {}) for number in range(20)])
    await publisher.close()
    deliveries: list[Delivery] = []
    subscriber = Subscriber(subscription, streams=1, max_messages=20, lease_seconds=60, observer=Heard())
    await subscriber.open(deliveries.append, lambda error: None)
    await until(lambda: len(deliveries) == 20)
    own_pubsub.crash()
    for delivery in deliveries[:10]:
        delivery.ack()
    began = time.monotonic()
    await subscriber.close(1.5)
    assert time.monotonic() - began < 2.5
    await asyncio.sleep(0)
