"""A published message: checked, given its id and time, and serialised once for all its deliveries.

Called by the broker for every publish and by no one else. It must not know topics or subscriptions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from daemon.local.pubsub.rpc_error import invalid
from daemon.local.pubsub.schema import PubsubMessage, ReceivedMessage

MAX_MESSAGES = 1000  # a Publish call
MAX_MESSAGE_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1024


@dataclass(slots=True, eq=False)
class Message:
    """`field` is the message as field 2 of ReceivedMessage, `number` its place in the order of publishing."""

    number: int
    published: float
    ordering_key: str
    field: bytes

    @property
    def size(self) -> int:
        return len(self.field)

    @property
    def body(self) -> PubsubMessage:
        """The message again as it was published; for dead letters, which are rare."""
        return ReceivedMessage.FromString(self.field).message


def message_numbers() -> Iterator[int]:
    """Ever rising, also over a restart: a message id must not come back, jobs are named after it."""
    number = time.time_ns() // 1000
    while True:
        yield number
        number += 1


def check(message: PubsubMessage) -> None:
    """The limits of the service, so that what passes here passes there."""
    if not message.data and not message.attributes:
        raise invalid("A message must have data or at least one attribute.")
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        raise invalid(f"A message may have at most {MAX_MESSAGE_BYTES} bytes.")
    if len(message.ordering_key) > MAX_VALUE_BYTES:
        raise invalid(f"An ordering key may have at most {MAX_VALUE_BYTES} bytes.")
    if message.attributes:
        check_attributes(message)


def check_attributes(message: PubsubMessage) -> None:
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise invalid(f"A message may have at most {MAX_ATTRIBUTES} attributes.")
    for key, value in message.attributes.items():
        if not key or len(key.encode()) > MAX_KEY_BYTES:
            raise invalid(f"An attribute's key must have 1 to {MAX_KEY_BYTES} bytes.")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise invalid(f"The value of attribute {key!r} has more than {MAX_VALUE_BYTES} bytes.")
        if key.startswith("goog") and not key.startswith("googclient_"):
            raise invalid(f"The attribute {key!r} starts with 'goog', which is reserved.")


def freeze(message: PubsubMessage, number: int, published: Timestamp) -> Message:
    """Give it its id and time, and write it down."""
    message.message_id = str(number)
    message.publish_time.CopyFrom(published)
    moment = published.seconds + published.nanos / 1e9
    return Message(number, moment, message.ordering_key, message_field(message.SerializeToString()))


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message_field(body: bytes) -> bytes:
    """A serialised PubsubMessage as field 2 of ReceivedMessage; made once, at publish."""
    return b"\x12" + varint(len(body)) + body
