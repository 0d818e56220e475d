"""Subscription filters: which messages pass, and which texts are no filter."""

from google.api_core import exceptions

from tests.contract.pubsub.bench import Bench, expect, need
from tests.contract.pubsub.checks.registry import check

MESSAGES = [
    {"kind": "a", "prio": "hi"},
    {"kind": "ab"},
    {"kind": "abc", "prio": "lo"},
    {"kind": "a"},
    {"other": "x"},
]
PASSING = {  # filter: numbers of the messages above that pass
    'attributes.kind = "a"': {0, 3},
    'attributes.kind != "a"': {1, 2, 4},
    "attributes:prio": {0, 2},
    "NOT attributes:prio": {1, 3, 4},
    'hasPrefix(attributes.kind, "ab")': {1, 2},
    'attributes.kind = "a" AND attributes.prio = "hi"': {0},
    '(attributes.kind = "abc" OR attributes.kind = "a") AND NOT attributes.prio = "hi"': {2, 3},
}


@check
def filters_select(b: Bench) -> str:
    topic = b.topic()
    subscriptions = {text: b.subscription(topic, filter=text) for text in PASSING}
    for number, attributes in enumerate(MESSAGES):
        b.publish(topic, [b"%d" % number], **attributes)
    for text, subscription in subscriptions.items():
        got = b.pull(subscription, len(PASSING[text]), within=4) + b.pull(subscription, within=0.5)
        passed = {int(received.message.data) for received in got}
        need(passed == PASSING[text], f"{text} passed {sorted(passed)}, not {sorted(PASSING[text])}")
    return f"{len(PASSING)} filters"


@check
def bad_filter_is_refused(b: Bench) -> str:
    topic = b.topic()
    refused = exceptions.InvalidArgument
    expect(refused, lambda: b.subscription(topic, filter="kind === nothing"), "create_subscription with a bad filter")
    return "InvalidArgument"
