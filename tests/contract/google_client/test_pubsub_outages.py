"""Streams that end: dropped ones and outages are fixed, permanent reasons are told in one sentence."""

from google.pubsub_v1 import SubscriberAsyncClient

from daemon.errors import SubscriptionNotReady
from tests.contract.google_client.conftest import Bus, for_a_while
from tests.harness.waiting import until


async def test_a_dropped_stream_is_opened_again_and_messages_go_on(bus: Bus) -> None:
    async with bus.pulling(lambda delivery: delivery.ack()) as inbox:
        for body in (b"1", b"2", b"3"):
            await bus.publish(body)
            await until(lambda body=body: body in inbox.bodies, within=6)
            assert bus.control.drop_streams(bus.subscription) == 1
            await until(lambda: bus.figures()["receivers"] == 1, within=6)
        await bus.publish(b"4")
        await until(lambda: b"4" in inbox.bodies, within=6)
        assert len(inbox.observer.ends) == 3
        assert "dropped by a test" in str(inbox.observer.ends[0])


async def test_what_runs_when_a_stream_is_dropped_stays_leased_and_its_ack_counts(bus: Bus) -> None:
    await bus.publish(b"long")
    async with bus.pulling() as inbox:
        await until(lambda: inbox.deliveries)
        bus.control.drop_streams(bus.subscription)
        await until(lambda: bus.figures()["receivers"] == 1, within=6)
        inbox.deliveries[0].ack()
        await until(lambda: bus.figures()["acked"] == 1)
        assert len(inbox.deliveries) == 1


async def test_a_reopened_stream_takes_only_what_is_free_and_fills_the_slots_as_jobs_end(bus: Bus) -> None:
    """The library alone would take ten more behind ten that run, and leave their leases to run out."""
    await bus.publish(*(b"%d" % number for number in range(60)))
    async with bus.pulling(slots=10) as inbox:
        await until(lambda: len(inbox.deliveries) == 10)
        assert bus.control.drop_streams(bus.subscription) == 1
        await until(lambda: inbox.observer.ends)
        await for_a_while(1.5, lambda: len(inbox.deliveries) == 10 and bus.figures()["outstanding"] == 10)
        for ended in range(30):
            inbox.deliveries[ended].ack()
            await until(lambda ended=ended: len(inbox.deliveries) >= ended + 11, within=20)
            assert len(inbox.deliveries) == ended + 11


async def test_the_subscriber_is_back_within_five_seconds_of_an_outage(bus: Bus) -> None:
    async with bus.pulling(lambda delivery: delivery.ack()) as inbox:
        await until(lambda: bus.figures()["receivers"] == 1)
        bus.control.go_away()
        await until(lambda: len(inbox.observer.ends) >= 4, within=20)
        bus.control.come_back()
        await bus.publish(b"after")
        await until(lambda: b"after" in inbox.bodies, within=5)
        assert not inbox.failures


async def test_a_subscriber_says_for_how_long_every_pull_has_failed_and_nothing_once_one_goes_well(bus: Bus) -> None:
    async with bus.pulling(lambda delivery: delivery.ack()) as inbox:
        await until(lambda: bus.figures()["receivers"] == 1)
        await bus.publish(b"before")
        await until(lambda: inbox.bodies)
        bus.control.drop_streams(bus.subscription)
        await until(lambda: bus.figures()["receivers"] == 1, within=6)
        assert inbox.pull.failing_for == 0, "one stream that ends is daily use"
        bus.control.go_away()
        await until(lambda: inbox.pull.failing_for > 2, within=10)
        bus.control.come_back()
        await until(lambda: inbox.pull.failing_for == 0, within=5)
        assert not inbox.failures


async def test_acks_given_during_an_outage_are_sent_when_it_is_over(bus: Bus) -> None:
    await bus.publish(b"a")
    async with bus.pulling() as inbox:
        await until(lambda: inbox.deliveries)
        bus.control.go_away()
        inbox.deliveries[0].ack()
        await until(lambda: len(inbox.observer.ends) >= 3, within=20)
        bus.control.come_back()
        await until(lambda: bus.figures()["acked"] == 1)


async def test_a_deleted_subscription_is_told_in_one_sentence_with_its_fix(bus: Bus) -> None:
    async with bus.pulling() as inbox:
        await until(lambda: bus.figures()["receivers"] == 1)
        await SubscriberAsyncClient().delete_subscription(subscription=bus.subscription)
        await until(lambda: inbox.failures)
        await for_a_while(0.5, lambda: len(inbox.failures) == 1)
        (failure,) = inbox.failures
        assert isinstance(failure, SubscriptionNotReady)
        assert failure.problem == f"The subscription {bus.subscription} does not exist."
        assert failure.fix == "headcount provision"


async def test_a_missing_permission_is_told(bus: Bus) -> None:
    bus.control.deny("pubsub.subscriptions.consume", resource=bus.subscription)
    async with bus.pulling() as inbox:
        await until(lambda: inbox.failures)
        assert isinstance(inbox.failures[0], SubscriptionNotReady)
        assert f"may not pull from the subscription {bus.subscription}" in str(inbox.failures[0])
        assert "roles/pubsub.subscriber" in str(inbox.failures[0])
    bus.control.allow("pubsub.subscriptions.consume", resource=bus.subscription)
