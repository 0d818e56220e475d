"""The fields that this server reads, of the messages that it imports; the whole of them is in google.pubsub_v1."""

from collections.abc import MutableMapping, MutableSequence

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty as Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

class PubsubMessage(Message):
    data: bytes
    attributes: MutableMapping[str, str]
    message_id: str
    publish_time: Timestamp
    ordering_key: str

class ReceivedMessage(Message):
    ack_id: str
    message: PubsubMessage
    delivery_attempt: int

class Topic(Message):
    name: str

class RetryPolicy(Message):
    minimum_backoff: Duration
    maximum_backoff: Duration

class DeadLetterPolicy(Message):
    dead_letter_topic: str
    max_delivery_attempts: int

class ExpirationPolicy(Message):
    ttl: Duration

class Subscription(Message):
    name: str
    topic: str
    ack_deadline_seconds: int
    retain_acked_messages: bool
    message_retention_duration: Duration
    enable_message_ordering: bool
    expiration_policy: ExpirationPolicy
    filter: str
    dead_letter_policy: DeadLetterPolicy
    retry_policy: RetryPolicy
    detached: bool
    enable_exactly_once_delivery: bool
    state: int

class PublishRequest(Message):
    topic: str
    messages: MutableSequence[PubsubMessage]

class PublishResponse(Message):
    message_ids: MutableSequence[str]

class GetTopicRequest(Message):
    topic: str

class DeleteTopicRequest(Message):
    topic: str

class UpdateTopicRequest(Message):
    topic: Topic
    update_mask: FieldMask

class ListTopicsRequest(Message):
    project: str
    page_size: int
    page_token: str

class ListTopicsResponse(Message): ...

class ListTopicSubscriptionsRequest(Message):
    topic: str
    page_size: int
    page_token: str

class ListTopicSubscriptionsResponse(Message): ...

class DetachSubscriptionRequest(Message):
    subscription: str

class DetachSubscriptionResponse(Message): ...

class GetSubscriptionRequest(Message):
    subscription: str

class DeleteSubscriptionRequest(Message):
    subscription: str

class UpdateSubscriptionRequest(Message):
    subscription: Subscription
    update_mask: FieldMask

class ListSubscriptionsRequest(Message):
    project: str
    page_size: int
    page_token: str

class ListSubscriptionsResponse(Message): ...

class PullRequest(Message):
    subscription: str
    return_immediately: bool
    max_messages: int

class PullResponse(Message):
    received_messages: MutableSequence[ReceivedMessage]

class StreamingPullRequest(Message):
    subscription: str
    ack_ids: MutableSequence[str]
    modify_deadline_seconds: MutableSequence[int]
    modify_deadline_ack_ids: MutableSequence[str]
    stream_ack_deadline_seconds: int
    client_id: str
    max_outstanding_messages: int
    max_outstanding_bytes: int
    protocol_version: int

class StreamingPullResponse(Message):
    received_messages: MutableSequence[ReceivedMessage]

class AcknowledgeRequest(Message):
    subscription: str
    ack_ids: MutableSequence[str]

class ModifyAckDeadlineRequest(Message):
    subscription: str
    ack_ids: MutableSequence[str]
    ack_deadline_seconds: int

class SeekRequest(Message):
    subscription: str
    time: Timestamp
    snapshot: str

class SeekResponse(Message): ...

class Policy(Message):
    etag: bytes

class GetIamPolicyRequest(Message):
    resource: str

class SetIamPolicyRequest(Message):
    resource: str
    policy: Policy

class TestIamPermissionsRequest(Message):
    resource: str
    permissions: MutableSequence[str]

class TestIamPermissionsResponse(Message): ...

class ErrorInfo(Message):
    reason: str
    domain: str
    metadata: MutableMapping[str, str]

class Status(Message):
    code: int
    message: str
    details: MutableSequence[AnyMessage]
