"""Ordering keys: in order, on one stream at a time, and again in order after a nack."""

import collections
import threading
import time
from typing import Any

from google.cloud import pubsub_v1

from tests.contract.pubsub.bench import Bench, Inbox, let_pass, need, numbered, wait_until
from tests.contract.pubsub.checks.registry import check


@check
def ordering_keys_in_order(b: Bench) -> str:
    topic, subscription = b.pair(enable_message_ordering=True, ack_deadline_seconds=30)
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    publisher = b.publisher(publisher_options=options)
    futures = [publisher.publish(topic, b"%d" % number, ordering_key=f"key-{number % 5}") for number in range(300)]
    for future in futures:
        future.result(timeout=20)

    def slowly(message: Any) -> None:
        time.sleep(0.001)
        message.ack()

    inbox = Inbox(slowly)
    b.listen(subscription, inbox)
    need(inbox.wait(300, 30), f"{len(inbox)} of 300 arrived")
    per_key: dict[str, list[int]] = collections.defaultdict(list)
    for message in inbox.messages:
        per_key[message.ordering_key].append(int(message.data))
    need(set(per_key) == {f"key-{number}" for number in range(5)}, f"keys arrived as {sorted(per_key)[:6]}")
    for key, numbers in per_key.items():
        need(numbers == sorted(numbers), f"{key} arrived out of order: {numbers[:8]}…")
    return "5 keys × 60 messages, each key in order"


@check
def ordering_key_nack_replays_in_order(b: Bench) -> str:
    topic, subscription = b.pair(enable_message_ordering=True)
    b.publish(topic, numbered(10), key="k")
    nacked = threading.Event()

    def nack_three_once(message: Any) -> None:
        if message.data == b"3" and not nacked.is_set():
            nacked.set()
            message.nack()
        else:
            message.ack()

    inbox = Inbox(nack_three_once)
    b.listen(subscription, inbox)

    def since_the_last_three() -> list[int]:
        numbers = [int(message.data) for message in inbox.messages]
        return numbers[max((at for at, number in enumerate(numbers) if number == 3), default=0) :]

    def replayed() -> bool:
        return [message.data for message in inbox.messages].count(b"3") >= 2 and since_the_last_three()[-1] == 9

    wait_until(replayed, 15)
    order = [int(message.data) for message in inbox.messages]
    need(since_the_last_three() == list(range(3, 10)), f"3 nacked once, the whole order was {order}")
    return "3 nacked, then 3…9 in order"


@check
def ordering_key_stays_on_one_stream(b: Bench) -> str:
    topic, subscription = b.pair(enable_message_ordering=True, ack_deadline_seconds=30)
    streams = [b.stream(subscription, limit=10, ack_deadline=30) for _ in range(2)]
    let_pass(0.5)
    for body in numbered(30):
        b.publish(topic, [body], key="k")
    let_pass(1.5)
    counts = [len(stream.received) for stream in streams]
    need(sum(counts) > 0, "nothing arrived")
    need(min(counts) == 0, f"one key was outstanding on both streams: {counts}")
    return f"outstanding {max(counts)} and 0"
