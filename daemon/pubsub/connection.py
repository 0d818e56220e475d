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
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport, SubscriberGrpcTransport

# Errors that pass by themselves. RetryError is what the library makes of them when its own patience has ended.
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

# The library's errors are not annotated; this is how the rest of this folder makes one.
call_error: Callable[[grpc.StatusCode, str], GoogleAPICallError] = from_grpc_status

# gRPC waits up to 120 s before it tries a lost connection again; an outage would seem that much longer.
_OPTIONS: Options = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


def subscriber_transport() -> SubscriberGrpcTransport:
    """A blocking transport, shared by the streams of one subscriber. Finding the credentials may take seconds."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        return SubscriberGrpcTransport(host=emulator, channel=grpc.insecure_channel(emulator, options=_OPTIONS))
    return SubscriberGrpcTransport(channel=_with_options(SubscriberGrpcTransport.create_channel))


def subscriber_client() -> SubscriberAsyncClient:
    """An asynchronous client for unary calls on subscriptions."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        channel = grpc.aio.insecure_channel(emulator, options=_OPTIONS)
        return SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(host=emulator, channel=channel))
    create: Callable[..., grpc.aio.Channel] = SubscriberGrpcAsyncIOTransport.create_channel
    return SubscriberAsyncClient(
        transport=functools.partial(SubscriberGrpcAsyncIOTransport, channel=_with_options(create))
    )


def publisher_client() -> PublisherAsyncClient:
    """An asynchronous client for publishing and for topics."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        channel = grpc.aio.insecure_channel(emulator, options=_OPTIONS)
        return PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(host=emulator, channel=channel))
    create: Callable[..., grpc.aio.Channel] = PublisherGrpcAsyncIOTransport.create_channel
    return PublisherAsyncClient(
        transport=functools.partial(PublisherGrpcAsyncIOTransport, channel=_with_options(create))
    )


def _with_options(create: Callable[..., Channel]) -> Callable[..., Channel]:
    def make(host: str, *, options: Options = (), **others: object) -> Channel:
        return create(host, options=[*options, *_OPTIONS], **others)

    return make
