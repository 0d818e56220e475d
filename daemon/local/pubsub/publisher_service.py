"""The Publisher service of google.pubsub.v1: topics, and publishing to them.

Its methods are the RPCs of the same names, called by the handlers that `server` makes. It must not do more than
read a request, ask the broker and write the answer.
"""

from __future__ import annotations

from daemon.local.pubsub.broker import Broker
from daemon.local.pubsub.message import MAX_MESSAGES
from daemon.local.pubsub.pages import page
from daemon.local.pubsub.rpc_error import invalid
from daemon.local.pubsub.schema import (
    DeleteTopicRequest,
    DetachSubscriptionRequest,
    DetachSubscriptionResponse,
    Empty,
    GetTopicRequest,
    ListTopicsRequest,
    ListTopicsResponse,
    ListTopicSubscriptionsRequest,
    ListTopicSubscriptionsResponse,
    PublishRequest,
    PublishResponse,
    Topic,
    UpdateTopicRequest,
)
from daemon.local.pubsub.subscription_config import check_name


class Publisher:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def create_topic(self, request: Topic) -> Topic:
        check_name(request.name, "topics")
        self.broker.create_topic(request)
        return request

    async def update_topic(self, request: UpdateTopicRequest) -> Topic:
        """Stores the named fields; none of them changes how messages are delivered here."""
        stored = self.broker.topic(request.topic.name).message
        for path in request.update_mask.paths:
            if path == "name" or path.split(".")[0] not in Topic.DESCRIPTOR.fields_by_name:
                raise invalid(f"The update mask names {path}, which can't be changed.")
            stored.ClearField(path.split(".")[0])
        change = Topic()
        request.update_mask.MergeMessage(request.topic, change, replace_message_field=True, replace_repeated_field=True)
        stored.MergeFrom(change)
        return stored

    async def publish(self, request: PublishRequest) -> PublishResponse:
        topic = self.broker.topic(request.topic)
        if not 1 <= len(request.messages) <= MAX_MESSAGES:
            raise invalid(f"A Publish call takes 1 to {MAX_MESSAGES} messages, not {len(request.messages)}.")
        return PublishResponse(message_ids=self.broker.publish(topic, request.messages))

    async def get_topic(self, request: GetTopicRequest) -> Topic:
        return self.broker.topic(request.topic).message

    async def list_topics(self, request: ListTopicsRequest) -> ListTopicsResponse:
        of_project = [topic for path, topic in self.broker.topics.items() if path.startswith(f"{request.project}/")]
        chosen, token = page(of_project, request.page_size, request.page_token)
        return ListTopicsResponse(topics=[topic.message for topic in chosen], next_page_token=token)

    async def list_topic_subscriptions(self, request: ListTopicSubscriptionsRequest) -> ListTopicSubscriptionsResponse:
        subscriptions = self.broker.topic(request.topic).subscriptions
        chosen, token = page(subscriptions, request.page_size, request.page_token)
        return ListTopicSubscriptionsResponse(subscriptions=[one.name for one in chosen], next_page_token=token)

    async def delete_topic(self, request: DeleteTopicRequest) -> Empty:
        self.broker.delete_topic(request.topic)
        return Empty()

    async def detach_subscription(self, request: DetachSubscriptionRequest) -> DetachSubscriptionResponse:
        self.broker.detach_subscription(request.subscription)
        return DetachSubscriptionResponse()
