"""The gRPC server: which method of which service answers which call, and its start and stop.

The only file of this server that builds and wires; called by `__main__`. It listens on 127.0.0.1 and must not
listen anywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import Message

from daemon.local.pubsub import schema
from daemon.local.pubsub.broker import Broker
from daemon.local.pubsub.control import SERVICE as CONTROL
from daemon.local.pubsub.fault_service import Answer, FaultService
from daemon.local.pubsub.faults import Faults
from daemon.local.pubsub.iam import IamPolicy
from daemon.local.pubsub.publisher_service import Publisher
from daemon.local.pubsub.rpc_error import RpcError
from daemon.local.pubsub.subscriber_service import Context, Subscriber

Request = TypeVar("Request", bound=Message)

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Handlers = dict[str, Handler]

OPTIONS = [
    ("grpc.max_receive_message_length", 20 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # or a second server would silently share the port
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
]


class Server:
    """One server with its own state; `port` is known once it is started."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.broker = Broker(self.faults)
        self.port = 0
        self._clock: asyncio.Task[None] | None = None
        self._grpc = grpc.aio.server(options=OPTIONS)
        self._grpc.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", self._publisher()),
                grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", self._subscriber()),
                grpc.method_handlers_generic_handler("google.iam.v1.IAMPolicy", self._iam()),
                grpc.method_handlers_generic_handler(CONTROL, self._control()),
            )
        )

    async def start(self, port: int = 0) -> int:
        """Listens; returns the port."""
        self.port = self._grpc.add_insecure_port(f"127.0.0.1:{port}")
        await self._grpc.start()
        self._clock = asyncio.create_task(self.broker.run_clock())
        return self.port

    async def stop(self) -> None:
        """Ends the streams as a service does that is restarted; the state is lost."""
        self.faults.away = True
        for subscription in self.broker.subscriptions.values():
            subscription.end(RpcError(grpc.StatusCode.UNAVAILABLE, "The server is stopping."))
        if self._clock is not None:
            self._clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clock
        await self._grpc.stop(0.5)

    def _publisher(self) -> Handlers:
        service = Publisher(self.broker)
        unary = self._unary
        return {
            "CreateTopic": unary(schema.Topic, service.create_topic, "pubsub.topics.create"),
            "UpdateTopic": unary(schema.UpdateTopicRequest, service.update_topic, "pubsub.topics.update"),
            "Publish": unary(schema.PublishRequest, service.publish, "pubsub.topics.publish"),
            "GetTopic": unary(schema.GetTopicRequest, service.get_topic, "pubsub.topics.get"),
            "ListTopics": unary(schema.ListTopicsRequest, service.list_topics, "pubsub.topics.list"),
            "ListTopicSubscriptions": unary(
                schema.ListTopicSubscriptionsRequest, service.list_topic_subscriptions, "pubsub.topics.get"
            ),
            "DeleteTopic": unary(schema.DeleteTopicRequest, service.delete_topic, "pubsub.topics.delete"),
            "DetachSubscription": unary(
                schema.DetachSubscriptionRequest, service.detach_subscription, "pubsub.topics.detachSubscription"
            ),
        }

    def _subscriber(self) -> Handlers:
        service = Subscriber(self.broker)
        unary, consume = self._unary, "pubsub.subscriptions.consume"
        return {
            "CreateSubscription": unary(
                schema.Subscription, service.create_subscription, "pubsub.subscriptions.create"
            ),
            "GetSubscription": unary(
                schema.GetSubscriptionRequest, service.get_subscription, "pubsub.subscriptions.get"
            ),
            "UpdateSubscription": unary(
                schema.UpdateSubscriptionRequest, service.update_subscription, "pubsub.subscriptions.update"
            ),
            "ListSubscriptions": unary(
                schema.ListSubscriptionsRequest, service.list_subscriptions, "pubsub.subscriptions.list"
            ),
            "DeleteSubscription": unary(
                schema.DeleteSubscriptionRequest, service.delete_subscription, "pubsub.subscriptions.delete"
            ),
            "Seek": unary(schema.SeekRequest, service.seek, consume),
            "Acknowledge": unary(schema.AcknowledgeRequest, service.acknowledge, consume),
            "ModifyAckDeadline": unary(schema.ModifyAckDeadlineRequest, service.modify_ack_deadline, consume),
            "Pull": self._waiting(schema.PullRequest, service.pull, consume),
            "StreamingPull": self._streaming(service, consume),
        }

    def _iam(self) -> Handlers:
        service = IamPolicy(self.faults)
        return {
            "GetIamPolicy": self._unary(schema.GetIamPolicyRequest, service.get_iam_policy),
            "SetIamPolicy": self._unary(schema.SetIamPolicyRequest, service.set_iam_policy),
            "TestIamPermissions": self._unary(schema.TestIamPermissionsRequest, service.test_iam_permissions),
        }

    def _control(self) -> Handlers:
        service = FaultService(self.broker)
        names = [name for name in vars(FaultService) if not name.startswith("_")]
        return {name: switch(getattr(service, name)) for name in names}

    def _unary(
        self, kind: type[Request], method: Callable[[Request], Awaitable[Message]], permission: str = ""
    ) -> Handler:
        async def call(request: Request, context: Context) -> bytes:
            return (await method(request)).SerializeToString()

        return self._waiting(kind, call, permission)

    def _waiting(
        self, kind: type[Request], method: Callable[[Request, Context], Awaitable[bytes]], permission: str
    ) -> Handler:
        """A call that is refused where it has to be, and whose RpcError becomes its status."""

        async def call(request: Request, context: Context) -> bytes:
            try:
                self._admit(request, permission)
                return await method(request, context)
            except RpcError as refusal:
                await context.abort(refusal.code, refusal.text, refusal.trailing_metadata)

        return grpc.unary_unary_rpc_method_handler(call, request_deserializer=kind.FromString)

    def _streaming(self, service: Subscriber, permission: str) -> Handler:
        async def call(requests: object, context: Context) -> None:
            first = await context.read()
            if not isinstance(first, schema.StreamingPullRequest):
                return  # the client went away before it said anything
            try:
                self._admit(first, permission)
                await service.streaming_pull(first, context)
            except RpcError as refusal:
                await context.abort(refusal.code, refusal.text, refusal.trailing_metadata)

        return grpc.stream_stream_rpc_method_handler(call, request_deserializer=schema.StreamingPullRequest.FromString)

    def _admit(self, request: Message, permission: str) -> None:
        if self.faults.away:
            raise RpcError(grpc.StatusCode.UNAVAILABLE, "The server was sent away by a test.")
        if self.faults.denied and self.faults.is_denied(permission, resource_of(request)):
            raise RpcError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"User not authorized to perform this action: {permission} on {resource_of(request)}.",
            )


def resource_of(request: Message) -> str:
    """The path of what a request is about."""
    for field in ("subscription", "topic", "name", "project", "resource"):
        value = getattr(request, field, "")
        if value and field == "topic" and getattr(request, "name", ""):
            continue  # a Subscription names its topic too
        if value:
            return value if isinstance(value, str) else str(value.name)
    return ""


def switch(method: Callable[..., Answer]) -> Handler:
    """A method of the fault service as a call with JSON in and out."""

    async def call(request: bytes, context: Context) -> bytes:
        try:
            return json.dumps(method(**json.loads(request or b"{}"))).encode()
        except RpcError as refusal:
            await context.abort(refusal.code, refusal.text)
        except TypeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    return grpc.unary_unary_rpc_method_handler(call)
