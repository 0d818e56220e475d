"""StreamingPull streams: lost, cancelled, idle, or of a subscription that is not there."""

import time
from collections.abc import Callable

from google.api_core import exceptions

from tests.contract.pubsub.bench import Bench, Inbox, RawStream, let_pass, need, numbered
from tests.contract.pubsub.checks.registry import check


def given_back(b: Bench, dying: Bench, successor: Bench, end: Callable[[RawStream], object]) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=10)
    sent = set(b.publish(topic, numbered(10)))
    first = dying.stream(subscription, ack_deadline=10)
    need(first.wait(10), f"{len(first.received)} of 10 arrived")
    ended = time.monotonic()
    end(first)
    second = successor.stream(subscription, ack_deadline=10)
    need(second.wait(10, 25), f"{len(second.received)} of 10 came again within 25 s")
    need({one.message.message_id for one in second.received} == sent, "other ids came again")
    return f"10 of 10 on the next stream, {second.times[9] - ended:.1f} s later"


@check
def lost_connection_gives_messages_back(b: Bench) -> str:
    dying = b.another()
    return given_back(b, dying, b, lambda stream: dying.channel.close())


@check
def cancelled_stream_gives_messages_back(b: Bench) -> str:
    return given_back(b, b, b, lambda stream: stream.call.cancel())


@check
def idle_stream_stays_alive(b: Bench) -> str:
    topic, subscription = b.pair()
    inbox = Inbox()
    listening = b.listen(subscription, inbox)
    delays = []
    for pause in (1.0, 35.0):  # the client sends a heartbeat each 30 s
        let_pass(pause)
        started = time.monotonic()
        count = len(inbox)
        b.publish(topic, [b"x"])
        need(inbox.wait(count + 1), f"no message {pause:.0f} s into an idle stream")
        delays.append(inbox.items[-1][0] - started)
    need(not listening.future.done(), "the stream ended")
    return f"after 1 s and 35 s idle: {delays[0] * 1e3:.0f} ms and {delays[1] * 1e3:.0f} ms"


@check
def missing_subscription_ends_the_future(b: Bench) -> str:
    listening = b.listen(f"projects/{b.project}/subscriptions/nothing-here", Inbox())
    ending = listening.ending(within=10)
    need(isinstance(ending, exceptions.NotFound), f"the future ended with {ending!r}")
    return "NotFound"


@check
def deleting_the_subscription_ends_the_future(b: Bench) -> str:
    topic, subscription = b.pair()
    inbox = Inbox()
    listening = b.listen(subscription, inbox)
    b.publish(topic, [b"x"])
    need(inbox.wait(1), "no delivery")
    b.sub.delete_subscription(subscription=subscription)
    ending = listening.ending(within=15)
    need(isinstance(ending, exceptions.NotFound), f"the future ended with {ending!r}")
    return "NotFound"
