"""Publishing: what arrives is what was sent, whatever its size, in every subscription."""

import datetime as dt

from google.api_core import exceptions
from google.cloud import pubsub_v1

from tests.contract.pubsub.bench import Bench, Inbox, expect, need, numbered, random_bytes
from tests.contract.pubsub.checks.registry import check

MIB = 1 << 20


@check
def publish_batch_with_attributes(b: Bench) -> str:
    topic, subscription = b.pair()
    publisher = b.publisher(pubsub_v1.types.BatchSettings(max_messages=100))
    futures = [
        publisher.publish(topic, b"body %d" % number, number=str(number), text="ünïcode ✓") for number in range(250)
    ]
    sent = {future.result(timeout=20): number for number, future in enumerate(futures)}
    need(len(sent) == 250, f"{250 - len(sent)} message ids were not unique")
    inbox = Inbox()
    b.listen(subscription, inbox)
    need(inbox.wait(250, 15), f"{len(inbox)} of 250 arrived")
    now = dt.datetime.now(dt.UTC)
    for message in inbox.messages:
        number = sent.get(message.message_id)
        need(number is not None, "a message arrived under an id that publish() did not return")
        need(message.data == f"body {number}".encode(), "data differs")
        need(dict(message.attributes) == {"number": str(number), "text": "ünïcode ✓"}, "attributes differ")
        away = abs((now - message.publish_time).total_seconds())
        need(away < 60, f"publish_time reads {message.publish_time}")
        need(not message.ordering_key, "ordering_key is set")
        need(message.delivery_attempt is None, "delivery_attempt is set without a dead-letter policy")
    return "250 messages: ids, data, attributes, publish_time"


@check
def every_subscription_gets_every_message(b: Bench) -> str:
    topic = b.topic()
    subscriptions = [b.subscription(topic) for _ in range(3)]
    sent = set(b.publish(topic, numbered(20)))
    for subscription in subscriptions:
        got = {received.message.message_id for received in b.pull(subscription, 20)}
        need(got == sent, f"a subscription got {len(got)} of 20")
    late = b.subscription(topic)
    need(not b.pull(late, within=1), "a later subscription got earlier messages")
    return "3 subscriptions, 20 messages each"


@check
def large_messages_pass(b: Bench) -> str:
    topic, subscription = b.pair()
    client_topic, client_subscription = b.pair()
    body = random_bytes(9 * MIB)  # the service takes messages of up to 10 MB
    b.publish(topic, [body])
    stream = b.stream(subscription)
    need(stream.wait(1, 20), "a 9 MiB message did not come through StreamingPull")
    need(stream.received[0].message.data == body, "the 9 MiB body differs")
    b.publish(client_topic, [body[: 3 * MIB]])
    inbox = Inbox()
    b.listen(client_subscription, inbox)
    need(inbox.wait(1, 20), "a 3 MiB message did not reach the client library")
    return "9 MiB on the wire, 3 MiB through the client library"


@check
def responses_stay_under_4_mib(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=30)
    for _ in range(12):
        b.publish(topic, [bytes(60_000)] * 20)
    inbox = Inbox()
    b.listen(subscription, inbox, max_messages=1000)
    need(inbox.wait(240, 20), f"{len(inbox)} of 240 × 60 kB arrived: is a response over 4 MiB?")
    return "a backlog of 14 MB came in responses that the client takes"


@check
def publish_rejects_bad_messages(b: Bench) -> str:
    topic, _ = b.pair()
    expect(exceptions.InvalidArgument, lambda: b.publish(topic, [b""]), "message without data or attributes")
    too_large = (exceptions.InvalidArgument, exceptions.ResourceExhausted)
    expect(too_large, lambda: b.publish(topic, [bytes(10_000_001)]), "message over 10 MB")
    return "empty and oversized"
