"""Topics and subscriptions: made, read, changed, listed, deleted."""

import datetime as dt

from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from tests.contract.pubsub.bench import Bench, expect, need
from tests.contract.pubsub.checks.registry import check


@check
def topic_and_subscription_life(b: Bench) -> str:
    topic, subscription = b.pair(ack_deadline_seconds=0)
    need(b.pub.get_topic(topic=topic).name == topic, "get_topic returned another name")
    got = b.sub.get_subscription(subscription=subscription)
    need(got.topic == topic, f"the subscription's topic reads {got.topic!r}")
    need(got.ack_deadline_seconds == 10, f"the default ack deadline is {got.ack_deadline_seconds}, not 10")
    project = f"projects/{b.project}"
    need([one.name for one in b.pub.list_topics(project=project)] == [topic], "list_topics")
    need([one.name for one in b.sub.list_subscriptions(project=project)] == [subscription], "list_subscriptions")
    need(list(b.pub.list_topic_subscriptions(topic=topic)) == [subscription], "list_topic_subscriptions")
    expect(exceptions.AlreadyExists, lambda: b.pub.create_topic(name=topic), "second create_topic")
    again = {"name": subscription, "topic": topic}
    expect(exceptions.AlreadyExists, lambda: b.sub.create_subscription(again), "second create_subscription")
    orphan = {"name": f"{subscription}x", "topic": f"{topic}x"}
    expect(exceptions.NotFound, lambda: b.sub.create_subscription(orphan), "subscription to a missing topic")
    b.sub.delete_subscription(subscription=subscription)
    expect(exceptions.NotFound, lambda: b.sub.get_subscription(subscription=subscription), "get after delete")
    b.pub.delete_topic(topic=topic)
    expect(exceptions.NotFound, lambda: b.pub.get_topic(topic=topic), "get_topic after delete")
    expect(exceptions.NotFound, lambda: b.publish(topic, [b"x"]), "publish to a deleted topic")
    return "create, get, list, duplicate, missing, delete"


@check
def subscription_settings_round_trip(b: Bench) -> str:
    dead = b.topic("dead")
    _, path = b.pair(
        ack_deadline_seconds=20,
        enable_message_ordering=True,
        filter='attributes.a = "b"',
        labels={"team": "x"},
        retry_policy={"minimum_backoff": Duration(seconds=2), "maximum_backoff": Duration(seconds=8)},
        dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 7},
    )
    got = b.sub.get_subscription(subscription=path)
    need(got.ack_deadline_seconds == 20, "ack_deadline_seconds lost")
    need(got.enable_message_ordering, "enable_message_ordering lost")
    need(got.filter == 'attributes.a = "b"', "filter lost")
    need(dict(got.labels) == {"team": "x"}, "labels lost")
    need(got.dead_letter_policy.dead_letter_topic == dead, "dead_letter_topic lost")
    need(got.dead_letter_policy.max_delivery_attempts == 7, "max_delivery_attempts lost")
    need(got.retry_policy.minimum_backoff == dt.timedelta(seconds=2), "minimum_backoff lost")
    need(got.retry_policy.maximum_backoff == dt.timedelta(seconds=8), "maximum_backoff lost")
    return "deadline, ordering, filter, labels, retry, dead letter"


@check
def update_subscription_applies(b: Bench) -> str:
    _, path = b.pair()
    b.sub.update_subscription(
        subscription=types.Subscription(name=path, ack_deadline_seconds=33),
        update_mask=FieldMask(paths=["ack_deadline_seconds"]),
    )
    got = b.sub.get_subscription(subscription=path).ack_deadline_seconds
    need(got == 33, f"the ack deadline reads {got} after the update to 33")
    return "ack_deadline_seconds by update_mask"
