"""Unary pulls: a few messages of a subscription that is usually empty.

Used for the dead-letter subscription, inside the running event loop. Pulled messages are leased for the subscription's
ack deadline and nobody extends it, so whoever pulls must acknowledge soon or gets them again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, PermissionDenied
from google.api_core.retry import AsyncRetry, if_exception_type
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import AcknowledgeRequest, GetSubscriptionRequest, PullRequest, PullResponse, Subscription

from daemon.dead_letter import PulledMessage
from daemon.errors import SubscriptionNotReady
from daemon.pubsub.connection import TRANSIENT, subscriber_client
from daemon.pubsub.subscription_errors import grant, refusal

MAX_ACKS = 1_000  # ids are some 200 bytes, and a request may have 512 KiB
ANSWER_SECONDS = 5.0

_RETRY = AsyncRetry(if_exception_type(*TRANSIENT), initial=0.1, maximum=1.0, timeout=10.0)


class Puller:
    """Pulls and acknowledges, over one connection made at the first use.

    All calls raise SubscriptionNotReady for a permanent reason (the subscription is missing, no permission) and
    google's own error for a transient one.
    """

    def __init__(self) -> None:
        self._client: SubscriberAsyncClient | None = None

    async def pull(self, subscription: str, limit: int, wait_seconds: float) -> list[PulledMessage]:
        """Up to `limit` messages, as soon as there is one; none when none came within `wait_seconds`."""
        request = PullRequest(subscription=subscription, max_messages=limit)
        try:
            response = await self._connected().pull(request, timeout=wait_seconds, retry=None)
        except DeadlineExceeded:
            return []
        except GoogleAPICallError as error:
            raise refusal(subscription, error) from error
        return [
            PulledMessage(
                data=one.message.data,
                attributes=dict(one.message.attributes),
                message_id=one.message.message_id,
                publish_time=one.message.publish_time.seconds + one.message.publish_time.nanos / 1e9,
                ack_id=one.ack_id,
                delivery_attempt=one.delivery_attempt or None,
            )
            for one in PullResponse.pb(response).received_messages
        ]

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        for start in range(0, len(ack_ids), MAX_ACKS):
            request = AcknowledgeRequest(subscription=subscription, ack_ids=ack_ids[start : start + MAX_ACKS])
            try:
                await self._connected().acknowledge(request, retry=_RETRY, timeout=ANSWER_SECONDS)
            except GoogleAPICallError as error:
                raise refusal(subscription, error) from error

    async def retention(self, subscription: str) -> float:
        """For how many seconds the subscription keeps a message that nobody acknowledges."""
        request = GetSubscriptionRequest(subscription=subscription)
        try:
            have = await self._connected().get_subscription(request, retry=_RETRY, timeout=ANSWER_SECONDS)
        except PermissionDenied as error:
            text = f"This account may not look at the subscription {subscription}: {error.message}."
            raise SubscriptionNotReady(text, grant("subscriptions", subscription, "viewer")) from error
        except GoogleAPICallError as error:
            raise refusal(subscription, error) from error
        return float(Subscription.pb(have).message_retention_duration.seconds)

    async def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        client, self._client = self._client, None
        if client is not None:
            shut: Callable[[], Awaitable[None]] = client.transport.close  # not annotated
            await shut()

    def _connected(self) -> SubscriberAsyncClient:
        if self._client is None:
            self._client = subscriber_client()
        return self._client
