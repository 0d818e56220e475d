"""The topics and subscriptions of Headcount: created where they are missing, and checked.

Used by the worker's start check, `headcount provision` and `headcount doctor`, inside the running event loop. It
creates what is missing; it never changes or deletes what exists, but says which command would.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from google.api_core.exceptions import (
    AlreadyExists,
    GoogleAPICallError,
    MethodNotImplemented,
    NotFound,
    PermissionDenied,
)
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.types import Subscription, Topic

from daemon.errors import SubscriptionNotReady
from daemon.pubsub.connection import TRANSIENT, publisher_client, subscriber_client
from daemon.pubsub.drift import (
    MAX_ATTEMPTS,
    MAX_RETRY,
    MIN_RETRY,
    Problem,
    SubscriptionSpec,
    filter_for,
    filtered_names,
    problems_of,
)
from daemon.pubsub.subscription_errors import PROVISION, grant
from daemon.settings import Settings

__all__ = [
    "DesiredResources",
    "Problem",
    "SubscriptionSpec",
    "check",
    "desired",
    "filter_for",
    "filtered_names",
    "provision",
]

ANSWER_SECONDS = 10.0

# The library retries each call for a minute by default: too long for a start that could say what is wrong.
_RETRY = AsyncRetry(if_exception_type(*TRANSIENT), initial=0.1, maximum=1.0, timeout=ANSWER_SECONDS)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic by its full name; `required` when a worker can't run without it."""

    name: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class DesiredResources:
    """What has to exist."""

    topics: tuple[TopicSpec, ...]
    subscriptions: tuple[SubscriptionSpec, ...]


@dataclass(frozen=True, slots=True)
class Clients:
    topics: PublisherAsyncClient
    subscriptions: SubscriberAsyncClient


def desired(settings: Settings, *, names: Sequence[str] = ()) -> DesiredResources:
    """What these settings need; with `names` the subscription is that of a pool which runs only those jobs."""
    jobs, dead = settings.topic(settings.jobs_topic), settings.topic(settings.dead_letter_topic)
    return DesiredResources(
        topics=(
            TopicSpec(jobs),
            TopicSpec(settings.topic(settings.events_topic)),
            TopicSpec(dead, required=False),
        ),
        subscriptions=(
            SubscriptionSpec(settings.subscription(settings.dead_letter_subscription), topic=dead, required=False),
            SubscriptionSpec(
                settings.subscription(settings.jobs_subscription),
                topic=jobs,
                dead_letter_topic=dead,
                filter=filter_for(names),
            ),
        ),
    )


async def provision(desired: DesiredResources) -> list[str]:
    """Create what is missing. Returns a line for everything it did, found, or found to be different.

    Raises SubscriptionNotReady when Pub/Sub refuses, or can't be reached.
    """
    lines: list[str] = []
    async with connected() as clients:
        for topic in desired.topics:
            made = await _create(
                partial(clients.topics.create_topic, Topic(name=topic.name), retry=_RETRY, timeout=ANSWER_SECONDS),
                topic.name,
            )
            lines.append(f"{'created' if made else 'exists '} {topic.name}")
        for want in desired.subscriptions:
            lines += await _provide(clients.subscriptions, want)
    return lines


async def check(
    desired: DesiredResources, *, longest_timeout: float = 0.0, handler_names: Collection[str] | None = None
) -> list[Problem]:
    """Everything that is missing or not as wanted, the fatal problems first. Creates nothing.

    With `handler_names` a filter that lets through other jobs is a fatal problem. Raises SubscriptionNotReady when
    Pub/Sub can't be reached at all.
    """
    problems: list[Problem] = []
    async with connected() as clients:
        for topic in desired.topics:
            problems += await _check_topic(clients.topics, topic)
        for want in desired.subscriptions:
            have = await _have(clients.subscriptions, want, problems)
            if have is not None:
                problems += problems_of(have, want, longest_timeout=longest_timeout, handler_names=handler_names)
            if want.dead_letter_topic:
                problems += await _check_letters(clients.topics, want.dead_letter_topic)
    return sorted(problems, key=lambda problem: not problem.fatal)


async def filter_of(subscription: str) -> str:
    """The filter of an existing subscription, "" for none; `filtered_names` reads the job names in it."""
    async with connected() as clients:
        return (
            await clients.subscriptions.get_subscription(
                subscription=subscription, retry=_RETRY, timeout=ANSWER_SECONDS
            )
        ).filter


@asynccontextmanager
async def connected() -> AsyncIterator[Clients]:
    place = os.environ.get("PUBSUB_EMULATOR_HOST") or "Pub/Sub"
    try:
        clients = Clients(publisher_client(), subscriber_client())
    except GoogleAuthError as error:
        fix = "gcloud auth application-default login"
        raise SubscriptionNotReady(f"There are no usable credentials for Pub/Sub: {error}.", fix) from error
    try:
        yield clients
    except TRANSIENT as error:
        raise SubscriptionNotReady(f"{place} can't be reached: {error}.") from error
    except GoogleAPICallError as error:
        raise SubscriptionNotReady(f"{place} refused: {error.message}.") from error
    finally:
        for transport in (clients.topics.transport, clients.subscriptions.transport):
            shut: Callable[[], Awaitable[None]] = transport.close  # not annotated
            await shut()


async def _create(create: Callable[[], Awaitable[object]], name: str) -> bool:
    try:
        await create()
    except AlreadyExists:
        return False
    except PermissionDenied as error:
        text = f"This account may not create {name}: {error.message}."
        raise SubscriptionNotReady(text, "grant it roles/pubsub.editor, or apply the Terraform") from error
    return True


async def _provide(client: SubscriberAsyncClient, want: SubscriptionSpec) -> list[str]:
    request = _request(want)
    if await _create(partial(client.create_subscription, request, retry=_RETRY, timeout=ANSWER_SECONDS), want.name):
        return [f"created {want.name}"]
    have = await client.get_subscription(subscription=want.name, retry=_RETRY, timeout=ANSWER_SECONDS)
    found = problems_of(have, want)
    return [f"exists  {want.name}", *(f"differs {one.what} {one.why} Fix it with: {one.fix}" for one in found)]


def _request(want: SubscriptionSpec) -> Subscription:
    terms: dict[str, object] = {
        "name": want.name,
        "topic": want.topic,
        "filter": want.filter,
        "ack_deadline_seconds": want.ack_deadline,
        "message_retention_duration": {"seconds": want.retention},
        "expiration_policy": {},  # present and without a ttl: never
    }
    if want.dead_letter_topic:
        terms["retry_policy"] = {"minimum_backoff": {"seconds": MIN_RETRY}, "maximum_backoff": {"seconds": MAX_RETRY}}
        terms["dead_letter_policy"] = {
            "dead_letter_topic": want.dead_letter_topic,
            "max_delivery_attempts": MAX_ATTEMPTS,
        }
    return Subscription(terms)


async def _check_topic(client: PublisherAsyncClient, topic: TopicSpec) -> list[Problem]:
    try:
        await client.get_topic(topic=topic.name, retry=_RETRY, timeout=ANSWER_SECONDS)
    except NotFound:
        what = f"The topic {topic.name} does not exist."
        return [Problem(what, "Nothing can be published to it.", PROVISION, topic.required)]
    except PermissionDenied:
        pass  # an account that may only publish can't read it
    if not topic.required or await _granted(client, topic.name, "pubsub.topics.publish"):
        return []
    what = f"This account may not publish to the topic {topic.name}."
    return [Problem(what, "Retries and events would never leave.", grant("topics", topic.name, "publisher"), True)]


async def _have(client: SubscriberAsyncClient, want: SubscriptionSpec, problems: list[Problem]) -> Subscription | None:
    have = None
    try:
        have = await client.get_subscription(subscription=want.name, retry=_RETRY, timeout=ANSWER_SECONDS)
    except NotFound:
        what = f"The subscription {want.name} does not exist."
        problems.append(Problem(what, "No message can be pulled from it.", PROVISION, want.required))
        return None
    except PermissionDenied:
        what = f"This account may not look at the subscription {want.name}."
        why = "Its terms can't be checked."
        problems.append(Problem(what, why, grant("subscriptions", want.name, "viewer"), advice=True))
    if not await _granted(client, want.name, "pubsub.subscriptions.consume"):
        what = f"This account may not pull from the subscription {want.name}."
        fix = grant("subscriptions", want.name, "subscriber")
        problems.append(Problem(what, "No job would ever arrive.", fix, want.required))
    return have


async def _granted(client: PublisherAsyncClient | SubscriberAsyncClient, resource: str, permission: str) -> bool:
    request = {"resource": resource, "permissions": [permission]}
    try:
        answer = await client.test_iam_permissions(request, retry=_RETRY, timeout=ANSWER_SECONDS)
    except MethodNotImplemented:
        return True  # an emulator without accounts
    return permission in answer.permissions


async def _check_letters(client: PublisherAsyncClient, topic: str) -> list[Problem]:
    try:
        async for _ in await client.list_topic_subscriptions(topic=topic, retry=_RETRY, timeout=ANSWER_SECONDS):
            return []
    except (NotFound, PermissionDenied):
        return []  # reported as a missing topic, or not to be seen by this account
    what = f"The dead-letter topic {topic} has no subscription."
    return [Problem(what, "What Pub/Sub gives up delivering is lost without a trace.", PROVISION)]
