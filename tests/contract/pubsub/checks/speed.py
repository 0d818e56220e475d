"""How fast messages go in and come out, with the client library and without it."""

import statistics
import time
from collections.abc import Sized
from functools import partial
from typing import Any

from google.cloud import pubsub_v1
from google.pubsub_v1 import types

from tests.contract.pubsub.bench import Bench, Inbox, need, wait_until
from tests.contract.pubsub.checks.registry import speed_check

BODY = b"x" * 300


@speed_check
def speed_of_publish_and_drain(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=60)
    batches = pubsub_v1.types.BatchSettings(max_messages=1000, max_bytes=1_000_000, max_latency=0.01)
    publisher = b.publisher(batches)
    started = time.monotonic()
    for future in [publisher.publish(topic, BODY) for _ in range(b.messages)]:
        future.result(timeout=120)
    publishing = time.monotonic() - started
    seen: list[tuple[str, float]] = []

    def note(message: Any) -> None:
        message.ack()
        seen.append((message.message_id, time.monotonic()))

    started = time.monotonic()
    b.listen(subscription, note, max_messages=1000)
    complete = wait_until(lambda: len(seen) >= b.messages, 100, step=0.05)
    need(complete, f"{len(seen)} of {b.messages} drained in 100 s")
    duplicates = len(seen) - len({one for one, _ in seen})
    need(not duplicates, f"{duplicates} duplicates")
    draining = seen[-1][1] - started
    return f"client publish {b.messages / publishing:,.0f}/s, client drain {b.messages / draining:,.0f}/s"


@speed_check
def speed_of_the_wire(b: Bench) -> str:
    """What the server can do when the client library is not the limit."""
    topic, subscription = b.pair(ack_deadline_seconds=60)
    request = types.PublishRequest(topic=topic, messages=[types.PubsubMessage(data=BODY)] * 1000)
    started = time.monotonic()
    for _ in range(b.messages // 1000):
        b.pub.publish(request=request)
    publishing = time.monotonic() - started
    stream = b.stream(subscription, limit=1000, ack_deadline=60)
    acked = 0
    started = time.monotonic()
    while acked < b.messages and wait_until(partial(more_than, stream.received, acked), 10, step=0.0005):
        ready = min(len(stream.received), acked + 2000)
        b.ack(subscription, stream.received[acked:ready])
        acked = ready
    took = time.monotonic() - started
    need(acked >= b.messages, f"{acked} of {b.messages} drained, then nothing for 10 s")
    need(len({one.message.message_id for one in stream.received}) == b.messages, "ids missing or repeated")
    return f"raw publish {b.messages / publishing:,.0f}/s, raw drain with acks {b.messages / took:,.0f}/s"


def more_than(items: Sized, count: int) -> bool:
    return len(items) > count


@speed_check
def speed_of_one_message(b: Bench) -> str:
    topic, subscription = b.pair()
    inbox = Inbox()
    b.listen(subscription, inbox)
    delays = []
    for count in range(1, 101):
        started = time.monotonic()
        b.publish(topic, [b"x"])
        need(inbox.wait(count), f"message {count} did not arrive")
        delays.append((inbox.items[-1][0] - started) * 1e3)
    median, slow = statistics.median(delays), sorted(delays)[94]
    return f"publish to callback: median {median:.1f} ms, 95th percentile {slow:.1f} ms"
