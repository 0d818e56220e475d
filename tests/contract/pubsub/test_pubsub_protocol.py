"""What the conformance checks leave out: lists in pages, detaching, deleted topics, heartbeats, and bad requests."""

from collections.abc import Iterator

import grpc
import pytest
from google.api_core import exceptions
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from tests.contract.pubsub.bench import Bench, numbered
from tests.harness.waiting import eventually


@pytest.fixture
def bench(pubsub_server: str) -> Iterator[Bench]:
    bench = Bench(pubsub_server)
    yield bench
    bench.close()


def test_lists_come_in_pages(bench: Bench) -> None:
    made = {bench.topic() for _ in range(5)}
    request = {"project": f"projects/{bench.project}", "page_size": 2}
    pages = list(bench.pub.list_topics(request).pages)
    assert [len(page.topics) for page in pages] == [2, 2, 1]
    assert {topic.name for page in pages for topic in page.topics} == made


def test_a_topic_keeps_the_labels_it_is_given(bench: Bench) -> None:
    topic = bench.topic()
    change = types.Topic(name=topic, labels={"team": "x"})
    bench.pub.update_topic({"topic": change, "update_mask": FieldMask(paths=["labels"])})
    assert dict(bench.pub.get_topic(topic=topic).labels) == {"team": "x"}


def test_a_detached_subscription_stays_and_gives_nothing(bench: Bench) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, [b"x"])
    stream = bench.stream(subscription)
    assert stream.wait(1)
    bench.pub.detach_subscription({"subscription": subscription})
    assert eventually(lambda: stream.error).code() is grpc.StatusCode.FAILED_PRECONDITION
    assert bench.sub.get_subscription(subscription=subscription).detached
    assert list(bench.pub.list_topic_subscriptions(topic=topic)) == []
    with pytest.raises(exceptions.FailedPrecondition):
        bench.sub.pull(subscription=subscription, max_messages=1)


def test_a_subscription_outlives_its_topic(bench: Bench) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, [b"x"])
    bench.pub.delete_topic(topic=topic)
    assert bench.sub.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    assert bench.pull(subscription)


def test_a_half_closed_stream_is_read_to_its_end(bench: Bench) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, numbered(10))
    stream = bench.stream(subscription)
    assert stream.wait(10)
    stream.half_close()
    assert eventually(lambda: not stream.reading)
    assert stream.error is None


def test_a_heartbeat_is_answered_where_the_client_asked_for_it(bench: Bench) -> None:
    _, subscription = bench.pair()
    stream = bench.stream(subscription, protocol_version=1)
    stream.send()
    eventually(lambda: stream.responses == 1)


def test_a_pull_without_messages_ends_empty_before_its_deadline(bench: Bench) -> None:
    _, subscription = bench.pair()
    response = bench.sub.pull(subscription=subscription, max_messages=1, timeout=0.3, retry=None)
    assert list(response.received_messages) == []


def test_a_dead_letter_topic_has_to_be_there(bench: Bench) -> None:
    missing = {"dead_letter_topic": f"projects/{bench.project}/topics/missing"}
    with pytest.raises(exceptions.NotFound):
        bench.pair(dead_letter_policy=missing)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("pull", {"max_messages": 0}),
        ("modify_ack_deadline", {"ack_ids": ["x"], "ack_deadline_seconds": 601}),
        ("seek", {"snapshot": "projects/p/snapshots/snap"}),
    ],
)
def test_a_bad_request_is_refused(bench: Bench, method: str, fields: dict[str, object]) -> None:
    _, subscription = bench.pair()
    with pytest.raises(exceptions.InvalidArgument):
        getattr(bench.sub, method)({"subscription": subscription} | fields)


def test_what_the_server_does_not_have_is_unimplemented(bench: Bench) -> None:
    with pytest.raises(exceptions.MethodNotImplemented):
        list(bench.sub.list_snapshots(project=f"projects/{bench.project}"))
