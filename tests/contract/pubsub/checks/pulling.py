"""Pull, acks and flow control: who gets how much, and what stays away once it is acked."""

import threading
import time
from typing import Any

from tests.contract.pubsub.bench import Bench, Inbox, let_pass, need, numbered, wait_until
from tests.contract.pubsub.checks.registry import check


@check
def unary_pull(b: Bench) -> str:
    topic, subscription = b.pair()
    b.publish(topic, numbered(10))
    first = list(b.sub.pull(subscription=subscription, max_messages=3, timeout=10).received_messages)
    need(1 <= len(first) <= 3, f"max_messages=3 returned {len(first)}")
    got = first + b.pull(subscription, 10 - len(first))
    need(len({received.message.message_id for received in got}) == 10, "10 messages not all pulled once")
    b.ack(subscription, got)
    threading.Timer(1.0, lambda: b.publish(topic, [b"late"])).start()
    started = time.monotonic()
    got = b.pull(subscription, within=10)
    took = time.monotonic() - started
    need(got, "a pull that waits did not get the message published 1 s later")
    need(took < 4, f"the waiting pull took {took:.1f} s for a message published after 1 s")
    return f"max_messages held; a waiting pull woke {max(took - 1, 0):.2f} s after publish"


@check
def flow_control_100_client(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=30)
    b.publish(topic, numbered(400))
    held: list[Any] = []
    inbox = Inbox(held.append)
    b.listen(subscription, inbox, max_messages=100)
    need(inbox.wait(100, 10), f"{len(inbox)} of the first 100 arrived")
    let_pass(1.5)
    need(len(inbox) == 100, f"{len(inbox)} callbacks were outstanding, limit 100")

    def ack_more() -> bool:
        while held:
            held.pop().ack()
        return len(inbox) >= 400

    need(wait_until(ack_more, 20), f"{len(inbox)} of 400 arrived after acks")
    need(len(set(inbox.ids)) == 400 == len(inbox), f"{len(inbox) - len(set(inbox.ids))} duplicates")
    return "never over 100 outstanding, 400 of 400 once"


@check
def flow_control_100_server(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=30)
    b.publish(topic, numbered(400))
    stream = b.stream(subscription, limit=100, ack_deadline=30)
    need(stream.wait(100, 10), f"{len(stream.received)} of the first 100 arrived")
    let_pass(1.5)
    need(len(stream.received) == 100, f"the server pushed {len(stream.received)}, max_outstanding_messages was 100")
    b.ack(subscription, stream.received[:40])
    need(stream.wait(140), f"40 acks freed {len(stream.received) - 100} places")
    let_pass(0.5)
    need(len(stream.received) == 140, f"40 acks freed {len(stream.received) - 100} places")
    return "max_outstanding_messages held, unary acks free places"


@check
def acked_messages_stay_away(b: Bench) -> str:
    topic, subscription = b.pair()
    b.publish(topic, numbered(200))
    inbox = Inbox()
    listening = b.listen(subscription, inbox)
    need(inbox.wait(200, 10), f"{len(inbox)} of 200 arrived")
    let_pass(13)
    need(len(inbox) == 200, f"{len(inbox) - 200} acked messages came again within 13 s")
    listening.stop()
    need(not b.pull(subscription, within=1), "an acked message was still pullable")
    return "200 acked, none again in 13 s (deadline 10 s)"


@check
def late_and_double_acks_are_harmless(b: Bench) -> str:
    topic, subscription = b.pair()
    b.publish(topic, [b"x"])
    first = b.pull(subscription)
    for _ in range(2):
        b.ack(subscription, first)
    b.modack(subscription, first, 0)
    need(not b.pull(subscription, within=1.5), "nack after ack brought the message back")
    return "ack twice, nack after ack"


@check
def ack_of_thousands(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=10)
    sent = set(b.publish(topic, numbered(5000)))
    stream = b.stream(subscription, ack_deadline=10)
    need(stream.wait(5000, 20), f"{len(stream.received)} of 5,000 arrived")
    received = stream.received[:]
    need({one.message.message_id for one in received} == sent, "not each of the 5,000 ids arrived")
    started = time.monotonic()
    for start in range(0, 5000, 2500):
        b.ack(subscription, received[start : start + 2500])
    took = time.monotonic() - started
    let_pass(13)
    again = len(stream.received) - len(received)
    need(not again, f"{again} of 5,000 acked messages came again")
    return f"5,000 in two Acknowledge calls, {took:.2f} s, none again in 13 s"


@check
def two_subscribers_share_without_duplicates(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=30)

    def slowly(message: Any) -> None:
        time.sleep(0.002)
        message.ack()

    inboxes = [Inbox(slowly), Inbox(slowly)]
    for inbox in inboxes:
        b.listen(subscription, inbox)
    let_pass(0.5)
    sent = set(b.publish(topic, numbered(3000)))
    arrived = wait_until(lambda: sum(map(len, inboxes)) >= 3000, 30)
    need(arrived, f"{sum(map(len, inboxes))} of 3,000 arrived")
    let_pass(1)
    ids = [one for inbox in inboxes for one in inbox.ids]
    need(set(ids) == sent, f"{len(sent - set(ids))} never arrived")
    need(len(ids) == 3000, f"{len(ids) - 3000} duplicates")
    low, high = sorted(map(len, inboxes))
    need(low >= 300, f"shares were {low} and {high}")
    return f"3,000 messages, shares {low} and {high}, no duplicate"
