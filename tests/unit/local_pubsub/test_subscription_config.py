"""The config of a subscription: defaults, limits, updates, and how long a message is kept back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.local.pubsub.rpc_error import RpcError
from daemon.local.pubsub.schema import Subscription
from daemon.local.pubsub.subscription_config import check_name, config_of, merge, with_defaults

NAMES = {"name": "projects/p/subscriptions/sub", "topic": "projects/p/topics/top"}


def test_what_was_left_out_reads_back_as_the_services_default() -> None:
    full = with_defaults(
        Subscription(**NAMES, retry_policy={}, dead_letter_policy={"dead_letter_topic": NAMES["topic"]})
    )
    assert full.ack_deadline_seconds == 10
    assert full.message_retention_duration.seconds == 7 * 86400
    assert full.expiration_policy.ttl.seconds == 31 * 86400
    assert (full.retry_policy.minimum_backoff.seconds, full.retry_policy.maximum_backoff.seconds) == (10, 600)
    assert full.dead_letter_policy.max_delivery_attempts == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"ack_deadline_seconds": 9},
        {"ack_deadline_seconds": 601},
        {"message_retention_duration": {"seconds": 599}},
        {"dead_letter_policy": {"dead_letter_topic": "projects/p/topics/top", "max_delivery_attempts": 4}},
        {"dead_letter_policy": {"dead_letter_topic": "top"}},
        {"retry_policy": {"minimum_backoff": {"seconds": 20}, "maximum_backoff": {"seconds": 10}}},
        {"push_config": {"push_endpoint": "https://example.com"}},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_what_the_service_refuses_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(RpcError):
        with_defaults(Subscription(**NAMES, **fields))


def test_an_unparsable_filter_is_refused() -> None:
    with pytest.raises(RpcError, match="Invalid filter"):
        config_of(with_defaults(Subscription(**NAMES, filter="nonsense")))


@pytest.mark.parametrize("name", ["sub", "projects/p/topics/abc", "projects/p/subscriptions/1abc"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(RpcError):
        check_name(name, "subscriptions")


def test_an_update_changes_the_named_fields_only() -> None:
    old = with_defaults(Subscription(**NAMES, ack_deadline_seconds=20, labels={"a": "1"}))
    new = Subscription(**NAMES, ack_deadline_seconds=30, labels={"b": "2"})
    merged = merge(old, new, ["ack_deadline_seconds"])
    assert merged.ack_deadline_seconds == 30
    assert dict(merged.labels) == {"a": "1"}
    assert dict(merge(old, new, ["labels"]).labels) == {"b": "2"}


def test_an_update_can_take_a_policy_away() -> None:
    old = with_defaults(Subscription(**NAMES, retry_policy={}))
    assert config_of(merge(old, Subscription(**NAMES), ["retry_policy"])).backoff is None


@pytest.mark.parametrize("path", ["filter", "enable_message_ordering", "topic", "nonsense", "retry_policy.nonsense"])
def test_what_is_fixed_or_unknown_can_not_be_updated(path: str) -> None:
    old = with_defaults(Subscription(**NAMES))
    new = Subscription(name=NAMES["name"], topic="other", filter="attributes:x", enable_message_ordering=True)
    with pytest.raises(RpcError):
        merge(old, new, [path])


@given(st.integers(0, 600), st.integers(0, 600), st.integers(1, 1000))
def test_backoff_doubles_from_the_minimum_to_the_maximum(one: int, other: int, attempts: int) -> None:
    least, most = sorted((one, other))
    policy = {"minimum_backoff": {"seconds": least}, "maximum_backoff": {"seconds": most}}
    config = config_of(with_defaults(Subscription(**NAMES, retry_policy=policy)))
    delay, later = config.delay(attempts), config.delay(attempts + 1)
    assert delay is not None
    assert later is not None
    assert least <= delay <= later <= most
    assert later in (delay * 2, most, 0)
    assert config.delay(1) == least
