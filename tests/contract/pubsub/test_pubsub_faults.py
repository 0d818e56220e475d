"""The controls of the local server: each fault is seen by a client, and is over when it is taken back."""

import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.api_core import exceptions

from daemon.local.pubsub.control import Control
from daemon.local.pubsub_process import PubSubProcess
from tests.contract.pubsub.bench import Bench, Inbox, numbered
from tests.harness.waiting import eventually

Refused = type[exceptions.GoogleAPICallError]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server for the faults of this file alone."""
    with PubSubProcess() as process:
        yield process.address


@pytest.fixture
def control(server: str) -> Iterator[Control]:
    with Control(server) as control:
        yield control
        control.come_back()
        control.resume_delivery()
        control.delay_acks(0)
        control.lose_acks(0)
        control.allow()
        control.disable_chaos()
        control.wipe()


@pytest.fixture
def bench(server: str) -> Iterator[Bench]:
    bench = Bench(server)
    yield bench
    bench.close()


def refusal_of(call: Callable[[], object]) -> Refused | None:
    try:
        call()
    except exceptions.GoogleAPICallError as error:
        return type(error)
    return None


def test_paused_delivery_holds_everything_back_until_it_is_resumed(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    _, other = topic, bench.subscription(topic)
    control.pause_delivery(subscription)
    bench.publish(topic, [b"x"])
    assert bench.pull(other)
    assert not bench.pull(subscription, within=0.3)
    assert control.subscription(subscription)["backlog"] == 1
    control.resume_delivery(subscription)
    assert bench.pull(subscription)


def test_dropped_streams_end_with_unavailable_and_the_client_comes_back(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    stream, inbox = bench.stream(subscription), Inbox()
    listening = bench.listen(subscription, inbox)
    eventually(lambda: control.subscription(subscription)["receivers"] == 2)
    assert control.drop_streams(subscription) == 2
    error = eventually(lambda: stream.error)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    bench.publish(topic, [b"x"])
    assert inbox.wait(1, within=10)
    assert not listening.future.done()


def test_even_a_stream_that_nobody_reads_is_dropped_and_holds_up_no_other(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair(ack_deadline_seconds=60)
    stuck = bench.another().stream(subscription, ack_deadline=60)
    eventually(lambda: control.subscription(subscription)["receivers"] == 1)
    stuck.stop_reading()
    for _ in range(20):
        bench.publish(topic, [bytes(60_000)] * 20)
    reading = bench.stream(subscription, ack_deadline=60)
    eventually(lambda: control.subscription(subscription)["backlog"] == 0)
    assert reading.wait(200)
    assert control.drop_streams(subscription) == 2
    eventually(lambda: control.subscription(subscription)["receivers"] == 0)


def test_a_server_that_is_away_refuses_every_call_and_forgets_nothing(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, [b"x"])
    control.go_away()
    for call in (
        lambda: bench.pub.publish(topic=topic, messages=[{"data": b"x"}], retry=None),
        lambda: bench.sub.pull(subscription=subscription, max_messages=1, retry=None),
        lambda: bench.sub.get_subscription(subscription=subscription, retry=None),
        lambda: bench.pub.test_iam_permissions({"resource": topic, "permissions": ["a"]}, retry=None),
    ):
        assert refusal_of(call) is exceptions.ServiceUnavailable
    control.come_back()
    assert bench.pull(subscription)


def test_a_server_that_is_away_for_a_time_comes_back_by_itself(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    stream = bench.stream(subscription)
    eventually(lambda: control.subscription(subscription)["receivers"] == 1)
    control.go_away(0.3)
    eventually(lambda: stream.error)
    eventually(lambda: refusal_of(lambda: bench.pub.get_topic(topic=topic, retry=None)) is None)


def test_delayed_acks_take_effect_that_much_later(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, [b"x"])
    received = bench.pull(subscription)
    control.delay_acks(0.4)
    started = time.monotonic()
    bench.ack(subscription, received)
    assert time.monotonic() - started >= 0.4
    assert control.subscription(subscription)["acked"] == 1


def test_lost_acks_are_answered_well_and_the_messages_come_again(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, numbered(3))
    received = bench.pull(subscription, 3)
    control.lose_acks(2)
    bench.ack(subscription, received)
    figures = control.subscription(subscription)
    assert (figures["acked"], figures["outstanding"]) == (1, 2)
    assert control.expire_leases(subscription) == 2
    assert len(bench.pull(subscription, 2)) == 2


def test_a_share_of_the_acks_is_lost(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, numbered(400))
    control.lose_acks(share=0.5)
    bench.ack(subscription, bench.pull(subscription, 400))
    assert 100 < control.subscription(subscription)["acked"] < 300


def test_expired_leases_come_again_at_once(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair(ack_deadline_seconds=600)
    bench.publish(topic, [b"x"])
    assert bench.pull(subscription)
    assert control.expire_leases() == 1
    assert bench.pull(subscription)
    assert control.subscription(subscription)["expired"] == 1


def test_every_permission_is_granted_until_it_is_denied(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    asked = ["pubsub.topics.publish", "pubsub.topics.get"]
    request = {"resource": topic, "permissions": asked}
    assert list(bench.pub.test_iam_permissions(request).permissions) == asked
    control.deny("pubsub.topics.publish", resource=topic)
    assert list(bench.pub.test_iam_permissions(request).permissions) == ["pubsub.topics.get"]
    assert refusal_of(lambda: bench.publish(topic, [b"x"])) is exceptions.PermissionDenied
    assert bench.publish(bench.topic(), [b"x"])
    control.deny("pubsub.subscriptions.consume")
    stream = bench.stream(subscription)
    assert eventually(lambda: stream.error).code() is grpc.StatusCode.PERMISSION_DENIED
    control.allow()
    assert bench.publish(topic, [b"x"])


def test_a_policy_reads_back_as_it_was_set(bench: Bench, control: Control) -> None:
    topic = bench.topic()
    binding = {"role": "roles/pubsub.publisher", "members": ["serviceAccount:dead-letters@example.com"]}
    bench.pub.set_iam_policy({"resource": topic, "policy": {"bindings": [binding]}})
    assert bench.pub.get_iam_policy({"resource": topic}).bindings[0].role == "roles/pubsub.publisher"


def test_a_hostile_server_delivers_everything_and_more(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    control.enable_chaos(seed=5, duplicate=0.2, reorder=0.5, late=0.1, late_seconds=0.5)
    inbox = Inbox()
    bench.listen(subscription, inbox)
    sent = set(bench.publish(topic, numbered(500)))
    eventually(lambda: set(inbox.ids) == sent)
    assert len(inbox) > 500
    assert [int(message.data) for message in inbox.messages] != sorted(int(message.data) for message in inbox.messages)


def test_wiping_a_project_ends_its_streams_and_spares_the_others(bench: Bench, control: Control) -> None:
    _, subscription = bench.pair()
    other = bench.another()
    spared, _ = other.pair()
    stream = bench.stream(subscription)
    eventually(lambda: control.subscription(subscription)["receivers"] == 1)
    control.wipe(bench.project)
    assert eventually(lambda: stream.error).code() is grpc.StatusCode.NOT_FOUND
    assert list(control.stats()["topics"]) == [spared]


def test_the_figures_of_a_subscription_add_up(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    bench.publish(topic, numbered(5))
    received = bench.pull(subscription, 3)
    bench.ack(subscription, received[:1])
    bench.modack(subscription, received[1:2], 0)
    assert control.subscription(subscription) == {
        "published": 5,
        "delivered": 3,
        "receipts": 0,
        "acked": 1,
        "nacked": 1,
        "expired": 0,
        "dead_lettered": 0,
        "outstanding": 1,
        "backlog": 3,
        "receivers": 0,
    }
    assert control.stats()["topics"][topic] == {"published": 5}


def test_an_unknown_setting_of_hostile_mode_is_refused(server: str) -> None:
    with grpc.insecure_channel(server) as channel, pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        channel.unary_unary("/headcount.local.Control/enable_chaos")(b'{"nasty": 1}')
