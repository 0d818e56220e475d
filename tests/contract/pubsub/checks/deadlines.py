"""Ack deadlines: nacks, extensions, and leases that run out."""

import collections
import time
from typing import Any

from tests.contract.pubsub.bench import Bench, Inbox, let_pass, need, numbered
from tests.contract.pubsub.checks.registry import check


@check
def nack_redelivers_promptly(b: Bench) -> str:
    topic, subscription = b.pair()
    sent = b.publish(topic, numbered(20))
    seen: collections.Counter[str] = collections.Counter()

    def nack_once(message: Any) -> None:
        seen[message.message_id] += 1
        if seen[message.message_id] == 1:
            message.nack()
        else:
            message.ack()

    inbox = Inbox(nack_once)
    b.listen(subscription, inbox)
    need(inbox.wait(40), f"{len(inbox)} deliveries, 40 were due")
    times = {one: [at for at, message in inbox.items if message.message_id == one] for one in sent}
    slowest = max(second - first for first, second, *_ in times.values())
    let_pass(1)
    need(len(inbox) == 40, "more deliveries than one nack each explains")
    return f"20 nacks, slowest redelivery {slowest:.2f} s"


@check
def deadline_expiry_redelivers_unary(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=10)
    (sent,) = b.publish(topic, [b"x"])
    need(len(b.pull(subscription)) == 1, "the first delivery is missing")
    pulled = time.monotonic()
    again = b.pull(subscription, within=25)
    waited = time.monotonic() - pulled
    need(again and again[0].message.message_id == sent, "not redelivered within 25 s")
    need(waited > 8.5, f"redelivered after {waited:.1f} s, the ack deadline is 10 s")
    return f"redelivered after {waited:.1f} s"


@check
def deadline_expiry_redelivers_stream(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=10)
    b.publish(topic, [b"x"])
    stream = b.stream(subscription, ack_deadline=10)
    need(stream.wait(1), "the first delivery is missing")
    need(stream.wait(2, 25), "not redelivered within 25 s")
    waited = stream.times[1] - stream.times[0]
    need(waited > 8.5, f"redelivered after {waited:.1f} s, the ack deadline is 10 s")
    first, second = stream.received[:2]
    need(first.message.message_id == second.message.message_id, "another id")
    return f"redelivered after {waited:.1f} s on the same stream"


@check
def modack_extends_and_zero_nacks(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=10)
    b.publish(topic, [b"x"])
    first = b.pull(subscription)
    b.modack(subscription, first, 40)
    need(not b.pull(subscription, within=14), "redelivered within 14 s although extended to 40 s")
    b.modack(subscription, first, 0)
    started = time.monotonic()
    need(b.pull(subscription), "deadline 0 did not bring it back")
    return f"14 s quiet after +40 s; deadline 0 brought it back in {time.monotonic() - started:.2f} s"


@check
def client_keeps_lease_of_slow_callback(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=10)
    b.publish(topic, [b"x"])

    def slowly(message: Any) -> None:
        time.sleep(24)
        message.ack()

    inbox = Inbox(slowly)
    b.listen(subscription, inbox)
    need(inbox.wait(1), "the first delivery is missing")
    let_pass(27)
    need(len(inbox) == 1, f"{len(inbox)} deliveries while the client held the lease")
    return "a callback of 24 s under a deadline of 10 s, delivered once"


@check
def acks_and_modacks_on_the_stream(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=10)
    b.publish(topic, numbered(300))
    stream = b.stream(subscription, ack_deadline=10)
    need(stream.wait(300, 10), f"{len(stream.received)} of 300 arrived")
    received = stream.received[:]
    stream.ack(one.ack_id for one in received[:200])
    stream.modack([one.ack_id for one in received[200:250]], 60)
    stream.modack([one.ack_id for one in received[250:]], 0)
    need(stream.wait(350), f"{len(stream.received) - 300} of 50 nacked on the stream came again")
    nacked = {one.message.message_id for one in received[250:]}
    need({one.message.message_id for one in stream.received[300:350]} == nacked, "others than the nacked came again")
    stream.ack(one.ack_id for one in stream.received[300:350])
    let_pass(12.5)
    extra = len(stream.received) - 350
    need(not extra, f"{extra} acked or extended messages came again")
    return "200 acked, 50 extended, 50 nacked through StreamingPullRequest"
