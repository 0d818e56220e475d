"""Why a claim was not given, decided from the row that was read about it.

Called by the store with what the third claim statement read. Total and pure: a message is acked only for a reason that
stands in the row; a row that looks claimable, or none at all, is TryAgain and is asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from daemon.job import Cause, Conflict, JobMessage, Refusal, Refused, Status, TryAgain


@dataclass(frozen=True, slots=True)
class ClaimView:
    """What was read about a message's job, its orchestration, and whoever took its index."""

    exists: bool
    status: str | None = None
    worker_id: UUID | None = None
    claim_token: UUID | None = None
    message_id: str | None = None
    early: bool = False
    elsewhere: bool = False
    registered: bool = False
    registered_total: int | None = None
    registered_name: str | None = None
    closing: bool = False
    pruning: bool = False
    taken_by: UUID | None = None
    taken_status: str | None = None
    taken_attempt: int | None = None
    limited: bool = False


class AlreadyClaimedByUs:
    """The claim was given after all: an earlier try of this very claim was committed and its answer lost."""


def explain_refusal(
    message: JobMessage, view: ClaimView, worker_id: UUID, token: UUID
) -> AlreadyClaimedByUs | Refused | Conflict | TryAgain:
    """What the row says about a claim that was not returned."""
    return _of_a_row(message, view, worker_id, token) if view.exists else _of_no_row(message, view)


def _of_a_row(
    message: JobMessage, view: ClaimView, worker_id: UUID, token: UUID
) -> AlreadyClaimedByUs | Refused | Conflict | TryAgain:
    cause = Cause.LEASE_EXPIRED if view.message_id == message.message_id else Cause.DUPLICATE_PUBLISH
    if view.elsewhere:
        return Conflict("JobElsewhere", f"job {message.job_id} belongs to another orchestration")
    if view.status != Status.IN_PROGRESS:
        return Refused(Refusal.FINISHED, cause)
    if view.worker_id == worker_id and view.claim_token == token:
        return AlreadyClaimedByUs()
    if view.worker_id is not None:
        return Refused(Refusal.CLAIMED, cause)
    if view.early:
        return Refused(Refusal.LIMITED) if view.limited else Refused(Refusal.NOT_DUE, cause)
    return Refused(Refusal.CLOSING, cause) if view.closing else TryAgain()


def _of_no_row(message: JobMessage, view: ClaimView) -> Refused | Conflict | TryAgain:
    if view.pruning:  # its jobs go before it does
        return Refused(Refusal.FINISHED)
    if not message.carries_params:
        return Conflict("NoSuchJob", f"job {message.job_id} is not registered, and the message carries no params")
    if not view.registered:
        if message.count is None:
            owner = message.orchestration_id
            return Conflict("CountMissing", f"orchestration {owner} is not registered; count is needed")
        return TryAgain()
    total = view.registered_total or 0
    if message.index >= total:
        return Conflict("IndexOutOfRange", f"index {message.index} is not below the registered count {total}")
    if view.taken_by is not None:
        if view.taken_status != Status.IN_PROGRESS and view.taken_attempt == 0:
            return Refused(Refusal.FINISHED)
        return Conflict("IndexTaken", f"index {message.index} belongs to job {view.taken_by}")
    if message.count is not None and message.count != total:
        return Conflict("CountMismatch", f"count is {message.count}, registered are {total}")
    if message.job_name != view.registered_name:
        return Conflict("NameMismatch", f"job_name is {message.job_name!r}, registered is {view.registered_name!r}")
    return TryAgain()
