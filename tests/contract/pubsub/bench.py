"""What a conformance check works with: clients of the server it judges, names, messages and clean-up.

Each check gets a `Bench` of its own under a random project id, so that checks run side by side on one server.
"""

import contextlib
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

SOON = 5.0  # seconds within which "at once" has to have happened on a busy machine
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

Action = Callable[[Any], object]


class Failed(Exception):
    """A check's verdict: the server misbehaved, and this says how."""


def need(condition: object, message: str) -> None:
    if not condition:
        raise Failed(message)


def expect(errors: type[Exception] | tuple[type[Exception], ...], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except errors:
        return
    except Exception as other:
        raise Failed(f"{what}: got {type(other).__name__}: {str(other)[:80]}") from other
    raise Failed(f"{what}: no error")


def wait_until(condition: Callable[[], object], within: float, step: float = 0.01) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(step)
    return bool(condition())


def let_pass(seconds: float) -> None:
    """Protocol time, in which something has to happen, or must not."""
    time.sleep(seconds)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


class Inbox:
    """A subscriber's callback that remembers what arrived, and when, and acts on it."""

    def __init__(self, action: Action = lambda message: message.ack()) -> None:
        self.items: list[tuple[float, Any]] = []
        self._action = action
        self._lock = threading.Lock()

    def __call__(self, message: Any) -> None:
        with self._lock:
            self.items.append((time.monotonic(), message))
        self._action(message)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def messages(self) -> list[Any]:
        with self._lock:
            return [message for _, message in self.items]

    @property
    def ids(self) -> list[str]:
        return [message.message_id for message in self.messages]

    def wait(self, count: int, within: float = SOON) -> bool:
        return wait_until(lambda: len(self.items) >= count, within)


class RawStream:
    """One StreamingPull call with nothing between the check and the wire."""

    def __init__(
        self,
        channel: grpc.Channel,
        subscription: str,
        *,
        limit: int = 0,
        ack_deadline: int = 10,
        protocol_version: int = 0,
    ) -> None:
        self._request, response = types.StreamingPullRequest.pb(), types.StreamingPullResponse.pb()
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.send(
            subscription=subscription,
            stream_ack_deadline_seconds=ack_deadline,
            max_outstanding_messages=limit,
            client_id=str(uuid.uuid4()),
            protocol_version=protocol_version,
        )
        method = channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=self._request.SerializeToString,
            response_deserializer=response.FromString,
        )
        self.received: list[Any] = []
        self.times: list[float] = []
        self.responses = 0
        self.reading = True
        self._may_read = threading.Event()
        self._may_read.set()
        self.error: grpc.RpcError | None = None
        self.call = method(iter(self._outgoing.get, None))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for response in self.call:
                self._may_read.wait()
                self.responses += 1
                now = time.monotonic()
                self.received.extend(response.received_messages)
                self.times.extend([now] * len(response.received_messages))
        except grpc.RpcError as error:
            self.error = error
        finally:
            self.reading = False

    def stop_reading(self) -> None:
        """Until it is closed, this is a consumer that takes nothing off the wire."""
        self._may_read.clear()

    def send(self, **fields: Any) -> None:
        self._outgoing.put(self._request(**fields))

    def ack(self, ack_ids: Iterable[str]) -> None:
        self.send(ack_ids=list(ack_ids))

    def modack(self, ack_ids: Iterable[str], seconds: int) -> None:
        ids = list(ack_ids)
        self.send(modify_deadline_ack_ids=ids, modify_deadline_seconds=[seconds] * len(ids))

    def wait(self, count: int, within: float = SOON) -> bool:
        return wait_until(lambda: len(self.received) >= count, within)

    def half_close(self) -> None:
        self._outgoing.put(None)

    def close(self) -> None:
        self._may_read.set()
        self.half_close()
        self.call.cancel()
        self._thread.join(5)


class Bench:
    """Clients, names and clean-up of one check. `messages` is how many the speed checks send."""

    def __init__(self, address: str, messages: int = 20_000) -> None:
        self.address = address
        self.messages = messages
        self.project = f"conformance-{uuid.uuid4().hex[:8]}"
        self.channel = grpc.insecure_channel(address, options=UNLIMITED)
        self.pub = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.sub = SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))
        self.closers: list[Callable[[], object]] = [self.channel.close]

    def close(self) -> None:
        for closer in reversed(self.closers):
            closer()

    def topic(self, name: str = "t") -> str:
        path = f"projects/{self.project}/topics/{name}-{uuid.uuid4().hex[:6]}"
        self.pub.create_topic(name=path)
        return path

    def subscription(self, topic: str, name: str = "sub", **fields: Any) -> str:
        path = f"projects/{self.project}/subscriptions/{name}-{uuid.uuid4().hex[:6]}"
        self.sub.create_subscription(request={"name": path, "topic": topic, "ack_deadline_seconds": 10} | fields)
        return path

    def pair(self, **fields: Any) -> tuple[str, str]:
        topic = self.topic("topic")
        return topic, self.subscription(topic, **fields)

    def publish(self, topic: str, payloads: Iterable[bytes], key: str = "", **attributes: str) -> list[str]:
        messages = [types.PubsubMessage(data=data, ordering_key=key, attributes=attributes) for data in payloads]
        ids: list[str] = []
        for start in range(0, len(messages), 1000):
            ids += self.pub.publish(topic=topic, messages=messages[start : start + 1000]).message_ids
        return ids

    def pull(self, subscription: str, count: int = 1, within: float = SOON) -> list[Any]:
        """Unary pulls until `count` messages came or the time is over."""
        got: list[Any] = []
        end = time.monotonic() + within
        while len(got) < count and (left := end - time.monotonic()) > 0:
            try:
                wanted = count - len(got)
                response = self.sub.pull(subscription=subscription, max_messages=wanted, timeout=left, retry=None)
                got += response.received_messages
            except (exceptions.DeadlineExceeded, exceptions.RetryError):
                pass  # nothing came, and the server left it to the deadline to say so
        return got

    def ack(self, subscription: str, received: Iterable[Any]) -> None:
        self.sub.acknowledge(subscription=subscription, ack_ids=[message.ack_id for message in received])

    def modack(self, subscription: str, received: Iterable[Any], seconds: int) -> None:
        ids = [message.ack_id for message in received]
        self.sub.modify_ack_deadline(subscription=subscription, ack_ids=ids, ack_deadline_seconds=seconds)

    def subscriber(self) -> pubsub_v1.SubscriberClient:
        """The client library with a channel as it makes one for an emulator: 4 MiB a response."""
        transport = SubscriberGrpcTransport(host=self.address, channel=grpc.insecure_channel(self.address))
        return pubsub_v1.SubscriberClient(transport=transport)

    def publisher(self, *settings: Any, **options: Any) -> pubsub_v1.PublisherClient:
        transport = PublisherGrpcTransport(host=self.address, channel=grpc.insecure_channel(self.address))
        return pubsub_v1.PublisherClient(*settings, transport=transport, **options)

    def listen(self, subscription: str, inbox: Action, max_messages: int = 100) -> "Listening":
        listening = Listening(self.subscriber(), subscription, inbox, max_messages)
        self.closers.append(listening.stop)
        return listening

    def stream(self, subscription: str, **options: int) -> RawStream:
        stream = RawStream(self.channel, subscription, **options)
        self.closers.append(stream.close)
        return stream

    def another(self) -> "Bench":
        """A bench with a connection of its own."""
        other = Bench(self.address, self.messages)
        self.closers.append(other.close)
        return other


class Listening:
    """A running `SubscriberClient.subscribe()`."""

    def __init__(self, client: pubsub_v1.SubscriberClient, subscription: str, inbox: Action, limit: int) -> None:
        self._client = client
        self.future = client.subscribe(
            subscription, inbox, flow_control=pubsub_v1.types.FlowControl(max_messages=limit)
        )

    def ending(self, within: float) -> BaseException | None:
        """What the future ended with."""
        return self.future.exception(timeout=within)

    def stop(self) -> None:
        self.future.cancel()
        with contextlib.suppress(Exception):  # it had ended before, as the check wanted
            self.future.result(timeout=10)
        self._client.close()


def random_bytes(count: int) -> bytes:
    """Nothing that compresses."""
    return os.urandom(1 << 16) * (count // (1 << 16))
