"""Pub/Sub's own account in a project, which forwards dead letters, and what it must be granted.

Called by `pubsub`. The project's number is part of its name and unknown here, so any number is taken for ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

try:
    from google.cloud.resourcemanager_v3 import ProjectsAsyncClient
except ImportError:  # without the extra `gcp`
    ProjectsAsyncClient = None  # type: ignore[assignment,misc]

AGENT = re.compile(r"serviceAccount:service-\d+@gcp-sa-pubsub\.iam\.gserviceaccount\.com")
ANSWER_SECONDS = 10.0
STRONGER = ("editor", "admin")


def is_agent(members: Mapping[str, Sequence[str]], role: str) -> bool:
    """Whether a policy (members by role) gives the agent this role of Pub/Sub, or one that contains it."""
    roles = [f"roles/pubsub.{one}" for one in (role, *STRONGER)]
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


async def granted_in_the_project(project: str, role: str) -> bool:
    """Whether the whole project's policy grants it. False where that can't be read, or without the extra `gcp`."""
    if ProjectsAsyncClient is None or os.environ.get("PUBSUB_EMULATOR_HOST"):
        return False
    try:
        client = ProjectsAsyncClient()
        policy = await client.get_iam_policy(resource=f"projects/{project}", timeout=ANSWER_SECONDS)
    except (GoogleAPICallError, GoogleAuthError):
        return False
    return is_agent({binding.role: list(binding.members) for binding in policy.bindings}, role)
