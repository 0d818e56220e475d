"""Whether what is published reaches a worker, and what can't be delivered is kept.

Called by `examination`, inside the running event loop. A single subscription is compared by `pubsub.resources`; here is
what only the whole topic shows: jobs that no subscription lets through, and the rights of Pub/Sub's own account, which
forwards dead letters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from google.api_core.exceptions import GoogleAPICallError, MethodNotImplemented, NotFound, PermissionDenied
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient

from daemon.doctor.finding import Finding, Severity, advice, loses_work, unchecked
from daemon.errors import SubscriptionNotReady
from daemon.pubsub.resources import ANSWER_SECONDS, Problem, check, connected, desired, filtered_names
from daemon.settings import Settings

try:
    from google.cloud.resourcemanager_v3 import ProjectsAsyncClient
except ImportError:  # without the extra `gcp`
    ProjectsAsyncClient = None  # type: ignore[assignment,misc]

AREA = "pubsub"
REPAIR = "headcount provision --repair"
# The project's number is part of the account's name and unknown here, so any number is taken for ours.
AGENT = re.compile(r"serviceAccount:service-\d+@gcp-sa-pubsub\.iam\.gserviceaccount\.com")


async def check_pubsub(settings: Settings, names: Collection[str], longest_timeout: float) -> list[Finding]:
    """Everything that is wrong with the topics and subscriptions. `names` are the handlers, empty when unknown."""
    findings: list[Finding] = []
    try:
        problems = await check(desired(settings), longest_timeout=longest_timeout, handler_names=names or None)
        findings = [_finding(problem) for problem in problems]
        if any(finding.severity is Severity.FATAL for finding in findings):
            return findings  # what is missing has no filter and no rights to look at
        async with connected() as clients:
            filters = await _filters(clients.topics, clients.subscriptions, settings.topic(settings.jobs_topic))
            findings += unmatched(filters, settings.subscription(settings.jobs_subscription), names)
            dead, jobs = settings.topic(settings.dead_letter_topic), settings.subscription(settings.jobs_subscription)
            findings += await _agent(clients.topics, settings.project, "topics", dead, "publisher")
            findings += await _agent(clients.subscriptions, settings.project, "subscriptions", jobs, "subscriber")
    except SubscriptionNotReady as error:
        why = "The rest about topics and subscriptions is not known, and no worker starts without them."
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
        url = f"http://{emulator}" if emulator else "https://pubsub.googleapis.com"
        findings.append(unchecked(AREA, error.problem, why, error.fix or f"curl --verbose {url}"))
    return findings


def _finding(problem: Problem) -> Finding:
    severity = Severity.FATAL if problem.fatal else Severity.ADVICE if problem.advice else Severity.LOSES_WORK
    return Finding(severity, AREA, problem.what, problem.why, REPAIR if problem.repairable else problem.fix)


async def _filters(topics: PublisherAsyncClient, subscriptions: SubscriberAsyncClient, topic: str) -> dict[str, str]:
    """The filters of the topic's subscriptions. A worker's own account sees none; whoever deploys sees all."""
    filters: dict[str, str] = {}
    try:
        async for path in await topics.list_topic_subscriptions(topic=topic, timeout=ANSWER_SECONDS):
            filters[path] = (await subscriptions.get_subscription(subscription=path, timeout=ANSWER_SECONDS)).filter
    except PermissionDenied:
        return {topic: ""}
    return filters


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
        subscription = "jobs-" + "".join(letter if letter.isalnum() else "-" for letter in lost[0])
        options = "".join(f" --filter-job {name}" for name in lost)
        yield loses_work(AREA, what, why, f"HEADCOUNT_JOBS_SUBSCRIPTION={subscription} headcount provision{options}")
    here = passed.get(own)
    idle = [name for name in names if here is not None and name not in here and name not in lost]
    if idle:
        what = f"The filter of {own} keeps these handlers idle: {', '.join(idle)}."
        fix = "export HEADCOUNT_HANDLERS=...  # only the packages of this pool"
        yield advice(AREA, what, "Another pool runs them; here they only take memory.", fix)


async def _agent(
    client: PublisherAsyncClient | SubscriberAsyncClient, project: str, kind: str, path: str, role: str
) -> list[Finding]:
    """Whether Pub/Sub's account has its role: it must publish dead letters to their topic and ack the original."""
    try:
        policy = await client.get_iam_policy(request={"resource": path}, timeout=ANSWER_SECONDS)
    except (MethodNotImplemented, NotFound):
        return []  # an emulator without accounts, or missing and reported already
    except PermissionDenied:
        what = f"This account may not read who may use {path}."
        why = "Whether dead letters can be forwarded is not known; an account that deploys may read it."
        return [advice(AREA, what, why, "gcloud auth application-default login")]
    members = {binding.role: list(binding.members) for binding in policy.bindings}
    if not members and os.environ.get("PUBSUB_EMULATOR_HOST"):
        return []  # an emulator on which nobody set any policy
    if is_agent(members, role) or await _granted_in_the_project(project, role):
        return []
    what = f"Pub/Sub's own account has no roles/pubsub.{role} on {path}."
    why = "It can't forward what it gives up delivering: dead letters are tried until they are too old, and lost."
    return [loses_work(AREA, what, why, grant_command(kind, path, role))]


def is_agent(members: Mapping[str, Sequence[str]], role: str) -> bool:
    """Whether a policy (members by role) gives Pub/Sub's account this role, or one that contains it."""
    roles = [f"roles/pubsub.{name}" for name in (role, "editor", "admin")]
    return any(AGENT.fullmatch(member) for name in roles for member in members.get(name, ()))


def grant_command(kind: str, path: str, role: str) -> str:
    """The command that grants it (`kind` in the plural)."""
    project, name = path.split("/")[1], path.split("/")[-1]
    number = f"$(gcloud projects describe {project} --format='value(projectNumber)')"
    member = f"serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    return (
        f"gcloud pubsub {kind} add-iam-policy-binding {name} --project={project}"
        f' --member="{member}" --role=roles/pubsub.{role}'
    )


async def _granted_in_the_project(project: str, role: str) -> bool:
    """Whether the whole project's policy grants it. False where that can't be read, or without the extra `gcp`."""
    if ProjectsAsyncClient is None or os.environ.get("PUBSUB_EMULATOR_HOST"):
        return False
    try:
        client = ProjectsAsyncClient()
        policy = await client.get_iam_policy(resource=f"projects/{project}", timeout=ANSWER_SECONDS)
    except (GoogleAPICallError, GoogleAuthError):
        return False
    return is_agent({binding.role: list(binding.members) for binding in policy.bindings}, role)
