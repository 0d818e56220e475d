"""Responses written by hand read like responses that protobuf wrote."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from daemon.local.pubsub.delivery import Delivery
from daemon.local.pubsub.message import check, freeze, message_numbers, varint
from daemon.local.pubsub.responses import received_messages, stream_properties
from daemon.local.pubsub.rpc_error import RpcError, stale_ack_ids
from daemon.local.pubsub.schema import (
    ErrorInfo,
    PubsubMessage,
    PullResponse,
    ReceivedMessage,
    Status,
    StreamingPullResponse,
)

NOW = Timestamp(seconds=1_800_000_000, nanos=5)
BODIES = st.builds(
    PubsubMessage,
    data=st.binary(max_size=300),
    attributes=st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=200), max_size=3),
    ordering_key=st.text(max_size=9),
)


@given(BODIES, st.text(min_size=1, max_size=200), st.integers(1, 2**31 - 1))
def test_a_framed_message_reads_as_protobuf_would_have_written_it(
    body: PubsubMessage, ack_id: str, attempt: int
) -> None:
    frozen = freeze(body, 77, NOW)
    delivery = Delivery(frozen, ack_id=ack_id, attempt=attempt)
    expected = ReceivedMessage(ack_id=ack_id, message=body, delivery_attempt=attempt)
    assert PullResponse.FromString(received_messages([delivery], with_attempts=True)).received_messages == [expected]
    assert frozen.body == body
    assert body.message_id == "77"


def test_a_response_of_a_stream_carries_messages_and_properties() -> None:
    deliveries = [Delivery(freeze(PubsubMessage(data=b"%d" % number), number, NOW), ack_id="x") for number in range(3)]
    tail = stream_properties(exactly_once=True, ordered=False)
    response = StreamingPullResponse.FromString(received_messages(deliveries, with_attempts=False) + tail)
    assert [one.message.data for one in response.received_messages] == [b"0", b"1", b"2"]
    assert [one.delivery_attempt for one in response.received_messages] == [0, 0, 0]
    assert response.subscription_properties.exactly_once_delivery_enabled
    assert not response.subscription_properties.message_ordering_enabled


@pytest.mark.parametrize(("number", "written"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_a_varint_is_seven_bits_a_byte(number: int, written: bytes) -> None:
    assert varint(number) == written


@pytest.mark.parametrize(
    "message",
    [
        PubsubMessage(),
        PubsubMessage(ordering_key="k"),
        PubsubMessage(data=bytes(10_000_001)),
        PubsubMessage(data=b"x", ordering_key="k" * 1025),
        PubsubMessage(attributes={"": "v"}),
        PubsubMessage(attributes={"k" * 257: "v"}),
        PubsubMessage(attributes={"k": "v" * 1025}),
        PubsubMessage(attributes={"google-thing": "v"}),
        PubsubMessage(attributes={str(number): "v" for number in range(101)}),
    ],
    ids=["empty", "only a key", "too large", "long ordering key", "no key", "long key", "long value", "goog", "many"],
)
def test_what_the_service_refuses_is_refused(message: PubsubMessage) -> None:
    with pytest.raises(RpcError):
        check(message)


def test_the_trace_of_a_google_client_is_no_reserved_attribute() -> None:
    check(PubsubMessage(attributes={"googclient_traceparent": "00-1-2-01"}))


def test_message_numbers_rise_also_over_a_restart() -> None:
    first = message_numbers()
    earlier = [next(first), next(first)]
    assert earlier[0] < earlier[1]
    assert next(message_numbers()) >= earlier[0]


def test_a_stale_ack_is_refused_by_name() -> None:
    refusal = stale_ack_ids(["a", "b"])
    ((key, details),) = refusal.trailing_metadata
    assert key == "grpc-status-details-bin"
    assert isinstance(details, bytes)
    reason = ErrorInfo()
    assert Status.FromString(details).details[0].Unpack(reason)
    assert set(reason.metadata.items()) == {
        ("a", "PERMANENT_FAILURE_INVALID_ACK_ID"),
        ("b", "PERMANENT_FAILURE_INVALID_ACK_ID"),
    }
