"""Dead letters and backoff: what becomes of a message that nobody can handle."""

import itertools
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tests.contract.pubsub.bench import Bench, Inbox, let_pass, need, wait_until
from tests.contract.pubsub.checks.registry import check


def with_dead_letters(b: Bench) -> tuple[str, str, str]:
    dead_topic = b.topic("dead")
    dead = b.subscription(dead_topic, "dead")
    topic, subscription = b.pair(dead_letter_policy={"dead_letter_topic": dead_topic, "max_delivery_attempts": 5})
    return topic, subscription, dead


@check
def dead_letter_after_five_nacks(b: Bench) -> str:
    topic, subscription, dead = with_dead_letters(b)
    b.publish(topic, [b"poison"], colour="red")
    inbox = Inbox(lambda message: message.nack())
    b.listen(subscription, inbox)
    moved = b.pull(dead, within=20)
    need(moved, f"nothing in the dead-letter topic after {len(inbox)} attempts")
    need(moved[0].message.data == b"poison", "data differs in the dead-letter topic")
    need(moved[0].message.attributes.get("colour") == "red", "attributes lost in the dead-letter topic")
    let_pass(1)
    attempts = [message.delivery_attempt for message in inbox.messages]
    need(attempts == [1, 2, 3, 4, 5], f"delivery_attempt read {attempts}")
    return "attempts 1…5, then moved once"


@check
def dead_letter_attributes(b: Bench) -> str:
    topic, subscription, dead = with_dead_letters(b)
    b.publish(topic, [b"poison"])
    b.listen(subscription, Inbox(lambda message: message.nack()))
    moved = b.pull(dead, within=20)
    need(moved, "nothing in the dead-letter topic")
    found = dict(moved[0].message.attributes)
    count = found.get("CloudPubSubDeadLetterSourceDeliveryCount")
    need(count == "5", f"attributes read {sorted(found) or 'none'}")
    source = found.get("CloudPubSubDeadLetterSourceSubscription")
    need(source == subscription.rsplit("/", 1)[1], f"the source subscription reads {source}")
    return "CloudPubSubDeadLetterSource*"


@check
def dead_letter_counts_expired_deadlines(b: Bench) -> str:
    topic, subscription, dead = with_dead_letters(b)
    b.publish(topic, [b"poison"])
    attempts = []
    for _ in range(5):
        got = b.pull(subscription, within=8)
        need(got, f"delivery {len(attempts) + 1} is missing")
        attempts.append(got[0].delivery_attempt)
        b.modack(subscription, got, 1)
    moved = False
    for _ in range(8):  # a server may move it only when somebody asks for the next delivery
        need(not b.pull(subscription, within=1), "delivered a sixth time")
        moved = moved or bool(b.pull(dead, within=1))
        if moved:
            break
    need(moved, f"not moved after expired attempts {attempts}")
    need(attempts == [1, 2, 3, 4, 5], f"delivery_attempt read {attempts}")
    return "five deadlines of 1 s run out, then moved"


@check
def retry_policy_backs_off(b: Bench) -> str:
    backoff = {"minimum_backoff": Duration(seconds=2), "maximum_backoff": Duration(seconds=6)}
    topic, subscription = b.pair(retry_policy=backoff)
    b.publish(topic, [b"bad"])

    def nack_what_is_bad(message: Any) -> None:
        if message.data == b"bad":
            message.nack()
        else:
            message.ack()

    inbox = Inbox(nack_what_is_bad)
    b.listen(subscription, inbox)
    need(inbox.wait(1), "the first delivery is missing")
    b.publish(topic, [b"good"])
    need(inbox.wait(2, 1.8), "a message in backoff held up another one")
    four_times = wait_until(lambda: [message.data for message in inbox.messages].count(b"bad") >= 4, 40)
    need(four_times, "fewer than 4 deliveries in 40 s")
    times = [at for at, message in inbox.items if message.data == b"bad"][:4]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    text = ", ".join(f"{gap:.1f}" for gap in gaps)
    need(min(gaps) >= 1.8, f"redelivered after {text} s, minimum_backoff is 2 s")
    need(max(gaps) <= 12, f"redelivered after {text} s, maximum_backoff is 6 s")
    return f"nacks came back after {text} s (minimum 2, maximum 6)"
