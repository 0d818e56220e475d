"""Exactly-once acks, and seek."""

import datetime as dt
from typing import Any

from google.api_core import exceptions
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.pubsub.bench import Bench, Inbox, expect, need, numbered, wait_until
from tests.contract.pubsub.checks.registry import check


@check
def exactly_once_acks(b: Bench) -> str:
    topic, subscription = b.pair(enable_exactly_once_delivery=True, ack_deadline_seconds=10)
    b.publish(topic, numbered(20))
    responses: list[Any] = []
    listening = b.listen(subscription, Inbox(lambda message: responses.append(message.ack_with_response())))
    need(wait_until(lambda: len(responses) >= 20, 10), f"{len(responses)} of 20 arrived")
    for response in responses:
        response.result(timeout=10)
    listening.stop()
    b.publish(topic, [b"comes twice"])
    first = b.pull(subscription)
    need(first, "the message after the first 20 did not come")
    b.modack(subscription, first, 0)
    need(b.pull(subscription), "the nacked message did not come back")
    expect(exceptions.GoogleAPICallError, lambda: b.ack(subscription, first), "ack of a superseded ack id")
    return "20 acks confirmed, a superseded ack id refused"


@check
def seek_replays_and_purges(b: Bench) -> str:
    topic, subscription = b.pair(retain_acked_messages=True)
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2)
    sent = set(b.publish(topic, numbered(10)))
    b.ack(subscription, b.pull(subscription, 10))

    def seek(moment: dt.datetime) -> None:
        stamp = Timestamp()
        stamp.FromDatetime(moment)
        b.sub.seek(request={"subscription": subscription, "time": stamp})

    seek(before)
    again = {received.message.message_id for received in b.pull(subscription, 10)}
    need(again == sent, f"{len(again)} of 10 acked messages replayed")
    b.publish(topic, [b"unread"])
    seek(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60))
    need(not b.pull(subscription, within=1.5), "the backlog survived a seek past its end")
    return "10 acked messages replayed; backlog purged"
