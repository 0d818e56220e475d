"""What an error of the service means for a subscription: transient, or something that somebody has to fix.

Called by the subscriber and the puller. Pure: an error in, an error with its sentence out.
"""

from __future__ import annotations

from google.api_core.exceptions import GoogleAPICallError, NotFound, PermissionDenied, Unauthenticated

from daemon.errors import SubscriptionNotReady
from daemon.pubsub.connection import TRANSIENT

PROVISION = "headcount provision"


def refusal(subscription: str, error: GoogleAPICallError) -> GoogleAPICallError | SubscriptionNotReady:
    """The error itself when it is transient, else why the subscription can't be used."""
    if isinstance(error, TRANSIENT):
        return error
    if isinstance(error, NotFound):
        return SubscriptionNotReady(f"The subscription {subscription} does not exist.", PROVISION)
    if isinstance(error, PermissionDenied | Unauthenticated):
        text = f"This account may not pull from the subscription {subscription}: {error.message}."
        return SubscriptionNotReady(text, grant("subscriptions", subscription, "subscriber"))
    return SubscriptionNotReady(f"The subscription {subscription} can't be pulled from: {error.message}.")


def grant(kind: str, path: str, role: str) -> str:
    """The command that lets the worker's account use a topic or subscription (`kind` in the plural)."""
    project, name = path.split("/")[1], path.split("/")[-1]
    member = f"serviceAccount:WORKER@{project}.iam.gserviceaccount.com"
    return (
        f"gcloud pubsub {kind} add-iam-policy-binding {name} --project={project}"
        f" --member={member} --role=roles/pubsub.{role}"
    )
