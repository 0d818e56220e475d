"""Whether what is published reaches a worker, and what can't be delivered is kept.

Called by `examination`, inside the running event loop. The terms of one subscription are judged by `pubsub.resources`;
here is what only the whole topic shows: jobs that no subscription lets through, and the rights of Pub/Sub itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from google.api_core.exceptions import GoogleAPICallError, MethodNotImplemented, NotFound, PermissionDenied
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient

from daemon.doctor.agent import grant_command, granted_in_the_project, is_agent
from daemon.doctor.finding import Finding, Severity, advice, loses_work, unchecked
from daemon.errors import SubscriptionNotReady
from daemon.pubsub.connection import publisher_client, subscriber_client
from daemon.pubsub.resources import ANSWER_SECONDS, Problem, check, filtered_names, wanted
from daemon.settings import Settings

AREA = "pubsub"
REPAIR = "headcount provision --repair"


async def check_pubsub(settings: Settings, names: Collection[str], longest_timeout: float) -> list[Finding]:
    """Everything that is wrong with the topics and subscriptions. `names` are the handlers, empty when unknown."""
    try:
        handler_names = names or None
        problems = await check(wanted(settings), longest_timeout=longest_timeout, handler_names=handler_names)
    except SubscriptionNotReady as error:
        why = "Nothing is known about topics and subscriptions, and no worker starts without them."
        return [unchecked(AREA, error.problem, why, error.fix or f"curl --verbose {_place()}")]
    findings = [_finding(problem) for problem in problems]
    if any(finding.severity is Severity.FATAL for finding in findings):
        return findings  # what is missing has no filter and no rights to look at
    topics, subscriptions = publisher_client(), subscriber_client()
    try:
        findings += await _unmatched(topics, subscriptions, settings, names)
        findings += await _agent(topics, subscriptions, settings)
    except GoogleAPICallError as error:
        what = f"Pub/Sub refused to be looked at: {error.message}."
        findings.append(unchecked(AREA, what, "Filters and rights are not known.", "headcount doctor"))
    finally:
        for client in (topics, subscriptions):
            await client.transport.close()  # type: ignore[no-untyped-call]  # the library's is not annotated
    return findings


def _finding(problem: Problem) -> Finding:
    severity = Severity.FATAL if problem.fatal else Severity.ADVICE if problem.mild else Severity.LOSES_WORK
    return Finding(severity, AREA, problem.what, problem.why, REPAIR if problem.repairable else problem.fix)


async def _unmatched(
    topics: PublisherAsyncClient, subscriptions: SubscriberAsyncClient, settings: Settings, names: Collection[str]
) -> list[Finding]:
    topic = settings.topic(settings.jobs_topic)
    filters: dict[str, str] = {}
    try:
        async for path in await topics.list_topic_subscriptions(topic=topic, timeout=ANSWER_SECONDS):
            found = await subscriptions.get_subscription(subscription=path, timeout=ANSWER_SECONDS)
            filters[path] = found.filter
    except PermissionDenied:
        return []  # a worker's own account sees one subscription only; whoever deploys sees all
    return list(unmatched(filters, settings.subscription(settings.jobs_subscription), names))


def unmatched(filters: dict[str, str], own: str, names: Collection[str]) -> Iterator[Finding]:
    """Handlers whose messages no subscription of the topic (or not this pool's) lets through. Pure."""
    passed = {path: filtered_names(text) for path, text in filters.items()}
    if any(not text for text in filters.values()):
        lost: list[str] = []
    elif any(found is None for found in passed.values()):
        return  # a filter that says other things than names: nothing can be concluded
    else:
        everywhere = {name for found in passed.values() for name in found or ()}
        lost = [name for name in names if name not in everywhere]
    if lost:
        what = f"No subscription of the topic lets these jobs through: {', '.join(lost)}."
        why = "Pub/Sub drops a message that matches no filter: kicked off, they never start."
        fix = f"HEADCOUNT_JOBS_SUBSCRIPTION=jobs-{_short(lost[0])} headcount provision"
        yield loses_work(AREA, what, why, fix + "".join(f" --filter-job {name}" for name in lost))
    here = passed.get(own)
    idle = [name for name in names if here is not None and name not in here and name not in lost]
    if idle:
        what = f"The filter of {own} keeps these handlers idle: {', '.join(idle)}."
        fix = "export HEADCOUNT_HANDLERS=...  # only the packages of this pool"
        yield advice(AREA, what, "Another pool runs them; here they only take memory.", fix)


def _short(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


async def _agent(
    topics: PublisherAsyncClient, subscriptions: SubscriberAsyncClient, settings: Settings
) -> list[Finding]:
    """Pub/Sub's own account forwards dead letters: it must publish to their topic and ack the original."""
    places = (
        (topics, "topics", settings.topic(settings.dead_letter_topic), "publisher"),
        (subscriptions, "subscriptions", settings.subscription(settings.jobs_subscription), "subscriber"),
    )
    findings = []
    for client, kind, path, role in places:
        try:
            policy = await client.get_iam_policy(request={"resource": path}, timeout=ANSWER_SECONDS)
        except (MethodNotImplemented, NotFound):
            continue  # an emulator without accounts, or missing and already told
        except PermissionDenied:
            what = f"This account may not read who may use {path}."
            why = "Whether dead letters can be forwarded is not known; an account that deploys may read it."
            findings.append(advice(AREA, what, why, "gcloud auth application-default login"))
            continue
        members = {binding.role: list(binding.members) for binding in policy.bindings}
        if not members and os.environ.get("PUBSUB_EMULATOR_HOST"):
            continue  # an emulator on which nobody set any policy
        if is_agent(members, role) or await granted_in_the_project(settings.project, role):
            continue
        what = f"Pub/Sub's own account has no roles/pubsub.{role} on {path}."
        why = "It can't forward what it gives up delivering: dead letters are tried until they are too old, and lost."
        findings.append(loses_work(AREA, what, why, grant_command(kind, path, role)))
    return findings


def _place() -> str:
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    return f"http://{emulator}" if emulator else "https://pubsub.googleapis.com"
