"""Responses with messages in them, written by hand around bytes that were serialised at publish.

Called by the Subscriber service for each response. The three fields of ReceivedMessage are framed here and nowhere
else; it is the difference between 10,000 and 100,000 messages a second. It must not look into a message.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.local.pubsub.delivery import Delivery
from daemon.local.pubsub.message import varint
from daemon.local.pubsub.schema import StreamingPullResponse

MAX_RESPONSE_BYTES = 3_500_000  # an emulator's client keeps gRPC's limit of 4 MiB a response


def received_messages(deliveries: Iterable[Delivery], *, with_attempts: bool) -> bytes:
    """Field 1 of PullResponse and of StreamingPullResponse, once for each delivery."""
    parts: list[bytes] = []
    for delivery in deliveries:
        ack_id = delivery.ack_id.encode()
        head = b"\x0a" + varint(len(ack_id)) + ack_id
        tail = b"\x18" + varint(delivery.attempt) if with_attempts else b""
        field = delivery.message.field
        parts += (b"\x0a", varint(len(head) + len(field) + len(tail)), head, field, tail)
    return b"".join(parts)


def stream_properties(*, exactly_once: bool, ordered: bool) -> bytes:
    """The rest of a StreamingPullResponse: the client reads it from every response, not only from the first."""
    properties = {"exactly_once_delivery_enabled": exactly_once, "message_ordering_enabled": ordered}
    return StreamingPullResponse(subscription_properties=properties).SerializeToString()
