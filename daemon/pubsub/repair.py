"""Changes existing subscriptions to what is wanted, as far as Pub/Sub allows it.

Called by `headcount provision --repair`, inside the running event loop, after everything missing was created. It never
deletes, and it leaves alone what can't be changed: the topic, the filter and the ordering of a subscription.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import Subscription

from daemon.errors import SubscriptionNotReady
from daemon.pubsub.connection import subscriber_client
from daemon.pubsub.drift import MAX_ATTEMPTS, MAX_RETRY, MIN_RETRY, SLOW_RETRY, SubscriptionSpec
from daemon.pubsub.resources import ANSWER_SECONDS, DesiredResources


async def repair(desired: DesiredResources) -> list[str]:
    """Change what differs; a line for each subscription that was changed. Raises SubscriptionNotReady."""
    client = subscriber_client()
    lines = []
    try:
        for want in desired.subscriptions:
            changed = await _repaired(client, want)
            if changed:
                lines.append(f"repaired {want.name} ({', '.join(changed)})")
    except GoogleAPICallError as error:
        fix = "grant the account that runs this roles/pubsub.editor"
        raise SubscriptionNotReady(f"The subscription can't be changed: {error.message}.", fix) from error
    finally:
        await client.transport.close()  # type: ignore[no-untyped-call]  # the library's method is not annotated
    return lines


def changes(have: Subscription, want: SubscriptionSpec) -> dict[str, object]:
    """The fields that have to change, with their new values. Pure."""
    return dict([*_lifetimes(have, want), *_redelivery(have, want)])


async def _repaired(client: SubscriberAsyncClient, want: SubscriptionSpec) -> list[str]:
    try:
        have = await client.get_subscription(subscription=want.name, timeout=ANSWER_SECONDS)
    except NotFound:
        return []
    fields = changes(have, want)
    if fields:
        request = Subscription({"name": want.name, "topic": have.topic, **fields})
        mask = FieldMask(paths=list(fields))
        await client.update_subscription(subscription=request, update_mask=mask, timeout=ANSWER_SECONDS)
    return list(fields)


def _lifetimes(have: Subscription, want: SubscriptionSpec) -> Iterator[tuple[str, object]]:
    raw = Subscription.pb(have)
    if not raw.HasField("expiration_policy") or raw.expiration_policy.ttl.seconds:
        yield "expiration_policy", {}  # present and without a ttl: never
    if raw.message_retention_duration.seconds < want.retention:
        yield "message_retention_duration", {"seconds": want.retention}
    if have.ack_deadline_seconds < want.ack_deadline:
        yield "ack_deadline_seconds", want.ack_deadline
    if have.enable_exactly_once_delivery:
        yield "enable_exactly_once_delivery", False


def _redelivery(have: Subscription, want: SubscriptionSpec) -> Iterator[tuple[str, object]]:
    if want.dead_letter_topic is None:
        return
    raw = Subscription.pb(have)
    if not raw.HasField("retry_policy") or raw.retry_policy.minimum_backoff.seconds > SLOW_RETRY:
        yield "retry_policy", {"minimum_backoff": {"seconds": MIN_RETRY}, "maximum_backoff": {"seconds": MAX_RETRY}}
    letters = have.dead_letter_policy
    if letters.dead_letter_topic != want.dead_letter_topic or letters.max_delivery_attempts < MAX_ATTEMPTS:
        yield (
            "dead_letter_policy",
            {"dead_letter_topic": want.dead_letter_topic, "max_delivery_attempts": MAX_ATTEMPTS},
        )
