"""Why a claim was not given, decided from the row that was read about it.

Called by the store with what the third claim statement read. Total and pure: a message is acked only for a reason that
stands in the row; a row that looks claimable, or none at all, is Undecided and is asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from daemon.job import Cause, Conflict, JobMessage, Refusal, Refused, Status, Undecided


@dataclass(frozen=True, slots=True)
class Sight:
    """What was read about a message's job, its orchestration, and whoever took its index."""

    born: bool
    status: Status | None = None
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
    taken_status: Status | None = None
    taken_attempt: int | None = None


class Mine:
    """The claim was given after all: an earlier try of this very claim was committed and its answer lost."""


def judge(message: JobMessage, sight: Sight, worker_id: UUID, token: UUID) -> Mine | Refused | Conflict | Undecided:
    """What the row says about a claim that was not returned."""
    if sight.born:
        return _of_a_row(message, sight, worker_id, token)
    return _of_no_row(message, sight)


def _of_a_row(message: JobMessage, sight: Sight, worker_id: UUID, token: UUID) -> Mine | Refused | Conflict | Undecided:
    cause = Cause.LEASE_EXPIRED if sight.message_id == message.message_id else Cause.DUPLICATE_PUBLISH
    if sight.elsewhere:
        return Conflict("JobElsewhere", f"job {message.job_id} belongs to another orchestration")
    if sight.status is not Status.IN_PROGRESS:
        return Refused(Refusal.FINISHED, cause)
    if sight.worker_id == worker_id and sight.claim_token == token:
        return Mine()
    if sight.worker_id is not None:
        return Refused(Refusal.HELD, cause)
    if sight.early:
        return Refused(Refusal.NOT_DUE, cause)
    return Refused(Refusal.CLOSING, cause) if sight.closing else Undecided()


def _of_no_row(message: JobMessage, sight: Sight) -> Refused | Conflict | Undecided:
    if sight.pruning:  # its jobs go before it does
        return Refused(Refusal.FINISHED)
    if not message.creates:
        return Conflict("NoSuchJob", f"job {message.job_id} is not registered, and the message carries no params")
    if not sight.registered:
        return _unregistered(message)
    total = sight.registered_total or 0
    if message.index >= total:
        return Conflict("IndexOutOfRange", f"index {message.index} is not below the registered count {total}")
    if sight.taken_by is not None:
        if sight.taken_status is not Status.IN_PROGRESS and sight.taken_attempt == 0:
            return Refused(Refusal.FINISHED)
        return Conflict("IndexTaken", f"index {message.index} belongs to job {sight.taken_by}")
    if message.count is not None and message.count != total:
        return Conflict("CountMismatch", f"count is {message.count}, registered are {total}")
    if message.job_name != sight.registered_name:
        return Conflict("NameMismatch", f"job_name is {message.job_name!r}, registered is {sight.registered_name!r}")
    return Undecided()


def _unregistered(message: JobMessage) -> Conflict | Undecided:
    if message.count is None:
        return Conflict("CountMissing", f"orchestration {message.orchestration_id} is not registered; count is needed")
    return Undecided()
