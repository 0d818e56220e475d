"""What the database says this worker has claimed, compared with what the worker runs. Pure.

Called by the main thread once a second; the differences are given back or cancelled by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from daemon.engine.attempt import AttemptSnapshot
from daemon.job import Holdings


@dataclass(frozen=True, slots=True)
class Difference:
    """What the two disagree about: (job, attempt number) pairs; `over` are occupied jobs whose handlers have ended."""

    claimed_not_run: tuple[tuple[UUID, int], ...]
    run_not_claimed: tuple[tuple[UUID, int], ...]
    over: tuple[UUID, ...] = ()


def compare(before: list[AttemptSnapshot], holdings: Holdings, after: list[AttemptSnapshot]) -> Difference:
    """Compare the holdings read between the two snapshots. Only what both snapshots agree on counts as a difference.

    A claim that came in while the holdings were read, or a settlement that began, is not a difference.
    """
    claimed = holdings.claimed
    known_before, known_after = _known(before), _known(after)
    strays = tuple(sorted(pair for pair in claimed if not (_knows(known_before, pair) or _knows(known_after, pair))))
    still_run = {id(snapshot.attempt) for snapshot in after if not snapshot.settling}
    lost = tuple(
        (snapshot.job_id, snapshot.number)
        for snapshot in before
        if snapshot.number is not None
        and id(snapshot.attempt) in still_run
        and snapshot.attempt.cancelled_at is None
        and (snapshot.job_id, snapshot.number) not in claimed
    )
    run = {snapshot.job_id for snapshot in after if snapshot.number is not None}
    return Difference(strays, lost, tuple(sorted(holdings.occupied - run)))


def _known(snapshots: list[AttemptSnapshot]) -> set[tuple[UUID, int | None]]:
    return {(snapshot.job_id, snapshot.number) for snapshot in snapshots}


def _knows(known: set[tuple[UUID, int | None]], pair: tuple[UUID, int]) -> bool:
    return pair in known or (pair[0], None) in known
