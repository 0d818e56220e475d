"""The mode in which the ack timer of a streamed message starts with its receipt, as it does in the real service."""

import time
from collections.abc import Iterator

import pytest

from daemon.local.pubsub.control import Control
from daemon.local.pubsub_process import PubSubProcess
from tests.contract.pubsub.bench import Bench, Inbox, RawStream
from tests.harness.waiting import eventually

WITHOUT_RECEIPT = 3.0
ACK_DEADLINE = 10


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with PubSubProcess(options=("--wait-for-receipts", str(WITHOUT_RECEIPT))) as process:
        yield process.address


@pytest.fixture
def bench(server: str) -> Iterator[Bench]:
    bench = Bench(server)
    yield bench
    bench.close()


@pytest.fixture
def control(server: str) -> Iterator[Control]:
    with Control(server) as control:
        yield control


def redelivered_after(stream: RawStream, body: bytes) -> float:
    """Seconds between the first and the second delivery of a message."""
    at = [at for at, one in zip(stream.times, stream.received, strict=False) if one.message.data == body]
    return at[1] - at[0] if len(at) > 1 else 0.0


def test_the_ack_timer_starts_with_the_receipt_and_without_one_only_later(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair(ack_deadline_seconds=ACK_DEADLINE)
    bench.publish(topic, [b"with", b"without"])
    stream = bench.stream(subscription, ack_deadline=ACK_DEADLINE)
    assert stream.wait(2)
    bench.modack(subscription, [one for one in stream.received if one.message.data == b"with"], ACK_DEADLINE)
    assert control.subscription(subscription)["receipts"] == 1
    assert stream.wait(4, within=30)
    assert ACK_DEADLINE - 1 < redelivered_after(stream, b"with") < ACK_DEADLINE + WITHOUT_RECEIPT
    assert redelivered_after(stream, b"without") > ACK_DEADLINE + WITHOUT_RECEIPT - 1


def test_a_nack_needs_no_receipt_and_a_pull_starts_the_timer_itself(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair(ack_deadline_seconds=ACK_DEADLINE)
    bench.publish(topic, [b"x"])
    stream = bench.stream(subscription, ack_deadline=ACK_DEADLINE)
    assert stream.wait(1)
    stream.half_close()
    eventually(lambda: control.subscription(subscription)["receivers"] == 0)
    bench.modack(subscription, stream.received, 0)
    assert bench.pull(subscription)
    pulled = time.monotonic()
    assert bench.pull(subscription, within=ACK_DEADLINE + 5)
    assert time.monotonic() - pulled < ACK_DEADLINE + WITHOUT_RECEIPT


def test_googles_client_sends_a_receipt_for_each_message(bench: Bench, control: Control) -> None:
    topic, subscription = bench.pair()
    inbox = Inbox(lambda message: None)
    bench.publish(topic, [b"a", b"b", b"c"])
    bench.listen(subscription, inbox)
    eventually(lambda: control.subscription(subscription)["receipts"] == 3)
