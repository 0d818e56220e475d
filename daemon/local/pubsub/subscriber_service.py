"""The Subscriber service of google.pubsub.v1: subscriptions, Pull, StreamingPull, acks and deadlines.

Its methods are the RPCs of the same names, called by the handlers that `server` makes. It turns calls into receivers
and batches into bytes; what is delivered to whom must not be decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc

from daemon.local.pubsub.broker import Broker, detached
from daemon.local.pubsub.delivery import Receiver
from daemon.local.pubsub.pages import page
from daemon.local.pubsub.responses import received_messages, stream_properties
from daemon.local.pubsub.rpc_error import invalid, stale_ack_ids
from daemon.local.pubsub.schema import (
    AcknowledgeRequest,
    DeleteSubscriptionRequest,
    Empty,
    GetSubscriptionRequest,
    ListSubscriptionsRequest,
    ListSubscriptionsResponse,
    ModifyAckDeadlineRequest,
    PullRequest,
    SeekRequest,
    SeekResponse,
    StreamingPullRequest,
    Subscription,
    UpdateSubscriptionRequest,
)
from daemon.local.pubsub.subscription import Subscription as Source
from daemon.local.pubsub.subscription_config import check_name, merge, with_defaults

Context = grpc.aio.ServicerContext[StreamingPullRequest, bytes]

LONGEST_PULL = 90.0
MAX_PULLED = 1000


class Subscriber:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def create_subscription(self, request: Subscription) -> Subscription:
        check_name(request.name, "subscriptions")
        return self.broker.create_subscription(with_defaults(request)).message

    async def get_subscription(self, request: GetSubscriptionRequest) -> Subscription:
        return self.broker.subscription(request.subscription).message

    async def update_subscription(self, request: UpdateSubscriptionRequest) -> Subscription:
        subscription = self.broker.subscription(request.subscription.name)
        if not request.update_mask.paths:
            raise invalid("The update mask is empty.")
        merged = merge(subscription.message, request.subscription, request.update_mask.paths)
        self.broker.check_dead_letter_topic(merged)
        subscription.reconfigure(merged)
        return merged

    async def list_subscriptions(self, request: ListSubscriptionsRequest) -> ListSubscriptionsResponse:
        start = f"{request.project}/"
        of_project = [one for path, one in self.broker.subscriptions.items() if path.startswith(start)]
        chosen, token = page(of_project, request.page_size, request.page_token)
        return ListSubscriptionsResponse(subscriptions=[one.message for one in chosen], next_page_token=token)

    async def delete_subscription(self, request: DeleteSubscriptionRequest) -> Empty:
        self.broker.delete_subscription(request.subscription)
        return Empty()

    async def seek(self, request: SeekRequest) -> SeekResponse:
        subscription = self.broker.subscription(request.subscription)
        if not request.HasField("time"):
            raise invalid("This local server seeks to a time only, it has no snapshots.")
        subscription.seek(request.time.seconds + request.time.nanos / 1e9)
        return SeekResponse()

    async def acknowledge(self, request: AcknowledgeRequest) -> Empty:
        subscription = self.broker.subscription(request.subscription)
        refuse_stale(subscription, await self._acknowledge(subscription, request.ack_ids))
        return Empty()

    async def modify_ack_deadline(self, request: ModifyAckDeadlineRequest) -> Empty:
        subscription = self.broker.subscription(request.subscription)
        if not 0 <= request.ack_deadline_seconds <= 600:
            raise invalid(f"Invalid ack deadline: {request.ack_deadline_seconds}, it must be 0 to 600 seconds.")
        refuse_stale(subscription, subscription.modify(request.ack_ids, request.ack_deadline_seconds))
        return Empty()

    async def pull(self, request: PullRequest, context: Context) -> bytes:
        """Waits for the first message until shortly before the call's deadline, then answers with what there is."""
        subscription = self._source(request.subscription)
        if request.max_messages <= 0:
            raise invalid("max_messages must be 1 or more.")
        remaining = context.time_remaining()
        timeout = LONGEST_PULL if remaining is None else min(LONGEST_PULL, max(remaining - 0.05, 0.0))
        lease = subscription.config.ack_deadline
        receiver = Receiver(lease_seconds=lease, max_messages=min(request.max_messages, MAX_PULLED))
        subscription.attach(receiver)
        try:
            batch = receiver.ask()
            await asyncio.wait([batch], timeout=0.05 if request.return_immediately else timeout)
            deliveries = batch.result() if batch.done() else None
        finally:
            subscription.detach(receiver)
        return received_messages(deliveries or (), with_attempts=bool(subscription.config.dead_letter_topic))

    async def streaming_pull(self, first: StreamingPullRequest, context: Context) -> None:
        """One receiver for as long as the stream lasts."""
        subscription = self._source(first.subscription)
        if not 10 <= first.stream_ack_deadline_seconds <= 600:
            raise invalid("stream_ack_deadline_seconds must be 10 to 600.")
        receiver = Receiver(
            lease_seconds=first.stream_ack_deadline_seconds,
            max_messages=first.max_outstanding_messages,
            max_bytes=first.max_outstanding_bytes,
            writer=asyncio.current_task(),
        )
        subscription.attach(receiver)
        reader = asyncio.create_task(self._read(first, context, subscription, receiver))
        try:
            await context.send_initial_metadata(())
            while (batch := await receiver.ask()) is not None:
                config = subscription.config
                messages = received_messages(batch, with_attempts=bool(config.dead_letter_topic))
                await context.write(
                    messages + stream_properties(exactly_once=config.exactly_once, ordered=config.ordered)
                )
        except asyncio.CancelledError:
            if receiver.refusal is not None:
                raise receiver.refusal from None
            raise
        finally:
            reader.cancel()
            subscription.detach(receiver)

    async def _read(
        self, first: StreamingPullRequest, context: Context, subscription: Source, receiver: Receiver
    ) -> None:
        """Acks, deadlines and heartbeats that come in on a stream, until the client closes its half."""
        request = first
        try:
            while True:
                await self._acknowledge(subscription, request.ack_ids)
                changes = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=False)
                for ack_id, seconds in changes:
                    subscription.modify((ack_id,), seconds)
                if request.stream_ack_deadline_seconds:
                    receiver.lease_seconds = request.stream_ack_deadline_seconds
                message = await context.read()
                if not isinstance(message, StreamingPullRequest):
                    break  # the end of the client's half
                request = message
                if first.protocol_version >= 1 and not request.ByteSize():
                    receiver.give([])
        finally:
            receiver.finish()

    async def _acknowledge(self, subscription: Source, ack_ids: Iterable[str]) -> list[str]:
        if self.broker.faults.ack_delay:
            await asyncio.sleep(self.broker.faults.ack_delay)
        return subscription.acknowledge(ack_ids)

    def _source(self, path: str) -> Source:
        subscription = self.broker.subscription(path)
        if subscription.message.detached:
            raise detached(path)
        return subscription


def refuse_stale(subscription: Source, ack_ids: list[str]) -> None:
    if ack_ids and subscription.config.exactly_once:
        raise stale_ack_ids(ack_ids)
