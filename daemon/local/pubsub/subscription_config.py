"""The config of a subscription: what CreateSubscription and UpdateSubscription said, checked and with its defaults.

Called by the Subscriber service; subscriptions read the result. It must not know what is delivered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from daemon.local.pubsub.filters import FilterInvalid, Predicate, parse_filter
from daemon.local.pubsub.rpc_error import invalid
from daemon.local.pubsub.schema import Subscription

ACTIVE = 1  # Subscription.State
UNSUPPORTED = ("push_config", "bigquery_config", "cloud_storage_config", "bigtable_config")
FIXED = ("name", "topic", "filter", "enable_message_ordering")
NAME = re.compile(r"projects/[^/]+/(topics|subscriptions)/(?!goog)[A-Za-z][\w.~+%-]{2,254}", re.ASCII)
WEEK = 7 * 86400
MONTH = 31 * 86400


@dataclass(frozen=True, slots=True)
class SubscriptionConfig:
    """What the delivery of messages depends on; times in seconds."""

    ack_deadline: int
    ordered: bool
    exactly_once: bool
    retain_acked: bool
    retention: float
    passes: Predicate
    dead_letter_topic: str  # empty: no dead letters
    max_attempts: int
    backoff: tuple[float, float] | None  # minimum, maximum; None: redeliver at once

    def delay(self, attempts: int) -> float | None:
        """How long to keep back what was handed out this often; None is not at all."""
        if self.backoff is None:
            return None
        least, most = self.backoff
        return min(most, least * 2.0 ** min(attempts - 1, 32))


def check_name(path: str, kind: str) -> None:
    match = NAME.fullmatch(path)
    if match is None or match.group(1) != kind:
        raise invalid(f"Invalid [{kind}] name: (name={path})")


def with_defaults(wanted: Subscription) -> Subscription:
    """The subscription as it will read back: checked, with the service's defaults in the empty places."""
    full = Subscription()
    full.CopyFrom(wanted)
    for field in UNSUPPORTED:
        if full.HasField(field) and getattr(full, field).ByteSize():
            raise invalid(f"This local server has no {field}; only pull subscriptions work here.")
    full.ack_deadline_seconds = full.ack_deadline_seconds or 10
    if not 10 <= full.ack_deadline_seconds <= 600:
        raise invalid(f"Invalid ack deadline: {full.ack_deadline_seconds}, it must be 10 to 600 seconds.")
    if not full.HasField("message_retention_duration"):
        full.message_retention_duration.seconds = WEEK
    if not 600 <= full.message_retention_duration.seconds <= MONTH:
        raise invalid("The message retention must be 10 minutes to 31 days.")
    if not full.HasField("expiration_policy"):
        full.expiration_policy.ttl.seconds = MONTH
    _add_policy_defaults(full)
    full.state = ACTIVE
    return full


def _add_policy_defaults(full: Subscription) -> None:
    if full.HasField("retry_policy"):
        retry = full.retry_policy
        if not retry.HasField("minimum_backoff"):
            retry.minimum_backoff.seconds = 10
        if not retry.HasField("maximum_backoff"):
            retry.maximum_backoff.seconds = 600
        if not 0 <= retry.minimum_backoff.seconds <= retry.maximum_backoff.seconds <= 600:
            raise invalid("A retry policy needs 0 <= minimum_backoff <= maximum_backoff <= 600 seconds.")
    if full.HasField("dead_letter_policy"):
        policy = full.dead_letter_policy
        check_name(policy.dead_letter_topic, "topics")
        policy.max_delivery_attempts = policy.max_delivery_attempts or 5
        if not 5 <= policy.max_delivery_attempts <= 100:
            raise invalid("max_delivery_attempts must be 5 to 100.")


def merge(old: Subscription, new: Subscription, paths: Iterable[str]) -> Subscription:
    """The old one with the named fields of the new one."""
    merged = Subscription()
    merged.CopyFrom(old)
    for path in paths:
        field, _, rest = path.partition(".")
        if field in FIXED and getattr(old, field) != getattr(new, field):
            raise invalid(f"The field {path} of a subscription can't be changed.")
        if field not in Subscription.DESCRIPTOR.fields_by_name or rest:
            raise invalid(f"The update mask names {path}, which is no field of a subscription.")
        merged.ClearField(field)
        part = Subscription()
        part.CopyFrom(new)
        for other in Subscription.DESCRIPTOR.fields_by_name:
            if other != field:
                part.ClearField(other)
        merged.MergeFrom(part)
    return with_defaults(merged)


def config_of(full: Subscription) -> SubscriptionConfig:
    """Read a completed subscription."""
    try:
        passes = parse_filter(full.filter)
    except FilterInvalid as error:
        raise invalid(f"Invalid filter: {error}.") from error
    retry = full.retry_policy
    return SubscriptionConfig(
        ack_deadline=full.ack_deadline_seconds,
        ordered=full.enable_message_ordering,
        exactly_once=full.enable_exactly_once_delivery,
        retain_acked=full.retain_acked_messages,
        retention=full.message_retention_duration.seconds,
        passes=passes,
        dead_letter_topic=full.dead_letter_policy.dead_letter_topic,
        max_attempts=full.dead_letter_policy.max_delivery_attempts,
        backoff=(
            (
                retry.minimum_backoff.seconds + retry.minimum_backoff.nanos / 1e9,
                retry.maximum_backoff.seconds + retry.maximum_backoff.nanos / 1e9,
            )
            if full.HasField("retry_policy")
            else None
        ),
    )
