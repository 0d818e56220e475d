"""Whether a subscription is configured as jobs need it: the comparison of what is with what is wanted.

Called by `resources` for the start check, `headcount provision` and `headcount doctor`. Pure: it asks nobody.
The reason for each setting is in the problems' own sentences.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from google.pubsub_v1.types import Subscription

from daemon.errors import RequestRefused

DAY = 86_400
NEVER_DELIVERED_TO = "_deleted-topic_"
MAX_FILTER_BYTES = 256
# A nack at a drain, or a claim that the database could not answer, must come back soon: the minimum is low. The high
# maximum spares the attempts of a message that is given back again and again: Pub/Sub counts at most 100 of them.
MIN_RETRY, MAX_RETRY, SLOW_RETRY = 1, 600, 5
MAX_ATTEMPTS = 100

_NAME = re.compile(r'attributes\s*\.\s*job_name\s*=\s*"((?:[^"\\]|\\.)*)"')
_NAMES_ONLY = re.compile(rf"[\s()]*(?:{_NAME.pattern}[\s()]*(?:OR[\s()]*)?)+")


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """A subscription and its terms; times in seconds. `dead_letter_topic` is None for the dead letters' own."""

    name: str
    topic: str
    dead_letter_topic: str | None = None
    filter: str = ""
    ack_deadline: int = 60
    retention: int = 7 * DAY
    required: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, why it matters, the command that fixes it; `fatal` when a worker can't run like that.

    `advice` when it costs time but no work; `repairable` when `headcount provision --repair` fixes it as well.
    """

    what: str
    why: str
    fix: str
    fatal: bool = False
    advice: bool = False
    repairable: bool = False


def filter_for(names: Sequence[str]) -> str:
    """The filter of a pool that runs only these jobs. Raises RequestRefused when Pub/Sub would not take it."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    text = " OR ".join(f'attributes.job_name = "{name}"' for name in quoted)
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise RequestRefused(
            f"The filter for {len(names)} job names has {len(text.encode())} bytes, and Pub/Sub takes"
            f" {MAX_FILTER_BYTES}; give the pool fewer or shorter names."
        )
    return text


def filtered_names(text: str) -> list[str] | None:
    """The job names that a filter lets through; None when it says more, or other things, than names."""
    if not text or not _NAMES_ONLY.fullmatch(text):
        return None
    return [re.sub(r"\\(.)", r"\1", name) for name in _NAME.findall(text)]


def problems_of(
    have: Subscription,
    want: SubscriptionSpec,
    *,
    longest_timeout: float = 0.0,
    handler_names: Collection[str] | None = None,
) -> Iterator[Problem]:
    """Everything about an existing subscription that is not as wanted, the fatal problems first."""
    yield from _unusable(have, want)
    if handler_names is not None:
        yield from _unhandled(have, want, handler_names)
    yield from _lifetimes(have, want, longest_timeout)
    yield from _redelivery(have, want)
    yield from _modes(have, want)


def update(path: str, options: str) -> str:
    """The command that changes a subscription."""
    return f"gcloud pubsub subscriptions update {_short(path)} {options}"


def recreate(path: str) -> str:
    """The command that replaces a subscription which holds nothing."""
    return f"gcloud pubsub subscriptions delete {_short(path)} && headcount provision"


def second(want: SubscriptionSpec, names: Sequence[str] = ()) -> str:
    """The command that makes another subscription beside this one and points this pool to it; nothing is deleted."""
    old = want.name.rpartition("/")[2]
    stem, _, number = old.rpartition("-")
    new = f"{stem}-{int(number) + 1}" if stem and number.isdigit() else f"{old}-2"
    variable = f"HEADCOUNT_{'JOBS' if want.dead_letter_topic else 'DEAD_LETTER'}_SUBSCRIPTION"
    only = "".join(f" --filter-job {shlex.quote(name)}" for name in names)
    return f"{variable}={new} headcount provision{only} && export {variable}={new}"


def drained_first(want: SubscriptionSpec) -> str:
    """Why the old one is not simply deleted."""
    old = want.name.rpartition("/")[2]
    return (
        f" Deleting {old} would lose the messages it holds: put a second one beside it, keep a worker on the old one"
        " until it is empty (a job that arrives by both runs once), and delete it then."
    )


def _short(path: str) -> str:
    parts = path.split("/")
    return f"{parts[-1]} --project={parts[1]}"


def _unusable(have: Subscription, want: SubscriptionSpec) -> Iterator[Problem]:
    path, fatal = want.name, want.required
    if have.topic == NEVER_DELIVERED_TO:
        what = f"The topic of the subscription {path} was deleted."
        yield Problem(what, "It will never get a message again." + drained_first(want), second(want), fatal)
    elif have.topic != want.topic:
        what = f"The subscription {path} is attached to {have.topic}, not to {want.topic}."
        yield Problem(what, "No job that is published would arrive." + drained_first(want), second(want), fatal)
    if have.push_config.push_endpoint:
        fix = f"gcloud pubsub subscriptions modify-push-config {_short(path)} --push-endpoint="
        what = f"The subscription {path} pushes to {have.push_config.push_endpoint}."
        yield Problem(what, "A worker pulls; Pub/Sub gives it nothing.", fix, fatal)
    if have.bigquery_config.table or have.cloud_storage_config.bucket:
        what = f"The subscription {path} writes into a table or a bucket."
        yield Problem(what, "A worker pulls; Pub/Sub gives it nothing." + drained_first(want), second(want), fatal)
    if have.detached:
        yield Problem(f"The subscription {path} is detached.", "It holds nothing any more.", recreate(path), fatal)


def _unhandled(have: Subscription, want: SubscriptionSpec, handler_names: Collection[str]) -> Iterator[Problem]:
    unknown = [name for name in filtered_names(have.filter) or () if name not in handler_names]
    if unknown:
        names = ", ".join(unknown)
        what = f"The filter of the subscription {want.name} lets through jobs without a handler here: {names}."
        here = [name for name in filtered_names(have.filter) or () if name in handler_names] or sorted(handler_names)
        why = (
            f"This pool would take them and end every one as Errored. Deploy handlers named {names}; or give this pool"
            f" a subscription of its own, and leave {_short(want.name).split()[0]} to a pool that has the others."
        )
        yield Problem(what, why, second(want, here), fatal=True)


def _lifetimes(have: Subscription, want: SubscriptionSpec, longest_timeout: float) -> Iterator[Problem]:
    path, raw = want.name, Subscription.pb(have)
    if not raw.HasField("expiration_policy") or raw.expiration_policy.ttl.seconds:
        days = (raw.expiration_policy.ttl.seconds or 31 * DAY) // DAY
        what = f"The subscription {path} expires after {days} days without a worker."
        why = "A pool that is scaled to zero loses it, and with it every message until somebody makes it again."
        yield Problem(what, why, update(path, "--expiration-period=never"), repairable=True)
    needed = max(longest_timeout, DAY)
    if raw.message_retention_duration.seconds < needed:
        what = f"The subscription {path} keeps messages for {raw.message_retention_duration.seconds} s."
        why = f"A message must outlive the longest handler and a day of trouble ({needed:.0f} s)."
        days = min(31, max(7, -(-int(needed) // DAY)))
        fix = update(path, f"--message-retention-duration={days}d")
        yield Problem(what, why, fix, repairable=needed <= want.retention)
    if have.ack_deadline_seconds < want.ack_deadline:
        what = f"The ack deadline of the subscription {path} is {have.ack_deadline_seconds} s."
        why = "Messages on their way to a busy worker are delivered twice."
        yield Problem(what, why, update(path, f"--ack-deadline={want.ack_deadline}"), advice=True, repairable=True)


def _redelivery(have: Subscription, want: SubscriptionSpec) -> Iterator[Problem]:
    path, raw = want.name, Subscription.pb(have)
    if want.dead_letter_topic is None:
        return
    retries = f"--min-retry-delay={MIN_RETRY}s --max-retry-delay={MAX_RETRY}s"
    if not raw.HasField("retry_policy"):
        what = f"The subscription {path} has no retry policy."
        why = "A message that goes back comes again at once, in a circle, until its deliveries are spent."
        yield Problem(what, why, update(path, retries), repairable=True)
    elif raw.retry_policy.minimum_backoff.seconds > SLOW_RETRY:
        what = f"The subscription {path} waits {raw.retry_policy.minimum_backoff.seconds} s before it delivers again."
        why = "Jobs that a stopping worker gives back stand idle for so long at every rollout."
        yield Problem(what, why, update(path, retries), advice=True, repairable=True)
    letters = f"--dead-letter-topic={want.dead_letter_topic} --max-delivery-attempts={MAX_ATTEMPTS}"
    have_topic = have.dead_letter_policy.dead_letter_topic
    if have_topic != want.dead_letter_topic:
        what = f"The dead letters of the subscription {path} go to {have_topic or 'nowhere'}."
        why = "A message that can't be delivered is tried until it is too old, and then lost without a trace."
        yield Problem(what, why, update(path, letters), repairable=True)
    elif have.dead_letter_policy.max_delivery_attempts < MAX_ATTEMPTS:
        what = f"The subscription {path} gives up after {have.dead_letter_policy.max_delivery_attempts} deliveries."
        why = "Rollouts and outages spend deliveries too; real failures are counted in the database."
        yield Problem(what, why, update(path, letters), repairable=True)


def _modes(have: Subscription, want: SubscriptionSpec) -> Iterator[Problem]:
    path = want.name
    if have.enable_exactly_once_delivery:
        what = f"The subscription {path} has exactly-once delivery."
        why = "It makes every receipt a blocking call and brings nothing: the claim already turns duplicates away."
        yield Problem(what, why, update(path, "--no-enable-exactly-once-delivery"), advice=True, repairable=True)
    if have.enable_message_ordering:
        what = f"The subscription {path} orders messages."
        why = "One job that waits holds up all others with its key." + drained_first(want)
        yield Problem(what, why, second(want, filtered_names(want.filter) or ()))
    if want.filter and have.filter != want.filter:
        what = f"The filter of the subscription {path} is {have.filter or 'empty'}, not {want.filter}."
        why = "It gets other jobs than it was meant to; a filter can't be changed." + drained_first(want)
        yield Problem(what, why, second(want, filtered_names(want.filter) or ()))
