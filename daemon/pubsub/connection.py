"""Clients of the service, or of the emulator that PUBSUB_EMULATOR_HOST names, with the same channel settings.

Called by every file of this folder that talks to Pub/Sub. Asynchronous clients belong to the running event loop.
It decides nothing about retries: those are the callers'.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc
import grpc.aio
from google.api_core.exceptions import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    ResourceExhausted,
    RetryError,
    ServiceUnavailable,
    Unknown,
    from_grpc_status,
)
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

# Transient errors. RetryError is what the library makes of them when its own deadline has passed.
TRANSIENT = (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    InternalServerError,
    ResourceExhausted,
    RetryError,
    ServiceUnavailable,
    Unknown,
)

Options = Sequence[tuple[str, int]]
Channel = TypeVar("Channel")

# The library's errors are not annotated; the rest of this folder makes them through this.
call_error: Callable[[grpc.StatusCode, str], GoogleAPICallError] = from_grpc_status

# A link that is half open is noticed after twice this. gRPC allows a client to ping every 10 s at most
# (https://github.com/grpc/proposal/blob/master/A8-client-side-keepalive.md); a server that wants fewer says GOAWAY
# with "too_many_pings", upon which gRPC itself doubles the interval of the next connection.
KEEPALIVE_SECONDS = 10.0

# gRPC waits up to 120 s before it tries a lost connection again; an outage would seem that much longer.
_OPTIONS: Options = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


def subscriber_client(options: Options = ()) -> SubscriberAsyncClient:
    """An asynchronous client for unary calls on subscriptions."""
    options = (*_OPTIONS, *options)
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        channel = grpc.aio.insecure_channel(emulator, options=options)
        return SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(host=emulator, channel=channel))
    create: Callable[..., grpc.aio.Channel] = SubscriberGrpcAsyncIOTransport.create_channel
    return SubscriberAsyncClient(
        transport=functools.partial(SubscriberGrpcAsyncIOTransport, channel=_with_options(create, options))
    )


def streaming_client() -> SubscriberAsyncClient:
    """A client for a stream that stays open: on a connection of its own, with keepalive to notice a half-open link."""
    return subscriber_client(
        (
            ("grpc.use_local_subchannel_pool", 1),  # clients with the same options would share one connection
            ("grpc.keepalive_time_ms", int(KEEPALIVE_SECONDS * 1000)),
            ("grpc.keepalive_timeout_ms", int(KEEPALIVE_SECONDS * 1000)),
            ("grpc.http2.ping_timeout_ms", int(KEEPALIVE_SECONDS * 1000)),  # of the pings that measure bandwidth
            ("grpc.http2.max_pings_without_data", 0),  # a quiet stream is pinged all the same
        )
    )


def publisher_client() -> PublisherAsyncClient:
    """An asynchronous client for publishing and for topics."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        channel = grpc.aio.insecure_channel(emulator, options=_OPTIONS)
        return PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(host=emulator, channel=channel))
    create: Callable[..., grpc.aio.Channel] = PublisherGrpcAsyncIOTransport.create_channel
    return PublisherAsyncClient(
        transport=functools.partial(PublisherGrpcAsyncIOTransport, channel=_with_options(create, _OPTIONS))
    )


def _with_options(create: Callable[..., Channel], more: Options) -> Callable[..., Channel]:
    def make(host: str, *, options: Options = (), **others: object) -> Channel:
        return create(host, options=[*options, *more], **others)

    return make
