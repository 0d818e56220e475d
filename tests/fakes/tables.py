"""The rows of a database in memory, and the ways by which a job is born and leaves a worker.

Shared by the fake store and by the fake relay's view of what is due. Time is a number that tests move on.
"""

from __future__ import annotations

from uuid import UUID

from daemon.job import Action, JobMessage, Settlement, Status, UnfinishedJob
from daemon.rules.lifecycle import settle_released, settle_worker_lost
from tests.fakes.rows import Group, Row


class Tables:
    """Everything that is committed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jobs: dict[UUID, Row] = {}
        self.groups: dict[UUID, Group] = {}
        self.rejected: dict[str, str] = {}

    def born(self, message: JobMessage) -> bool:
        """Make the row of a message that may have one; False if it has one already or may not."""
        if message.count is not None:
            self.groups.setdefault(message.orchestration_id, Group(message, message.count))
        group = self.groups.get(message.orchestration_id)
        if group is None or message.index >= group.total or message.count not in (None, group.total):
            return False
        if message.job_name != group.first.job_name or message.job_id in self.jobs or self.taken(message):
            return False
        self.jobs[message.job_id] = Row(message, publish_at=self.now)
        return True

    def taken(self, message: JobMessage) -> Row | None:
        """Whoever has the message's index."""
        position = (message.orchestration_id, message.index)
        return next((row for row in self.jobs.values() if row.position == position), None)

    def settle(self, one: Settlement) -> bool:
        """Carry a settlement out, if its fence still stands."""
        row = self.jobs[one.job_id]
        if (row.attempt, row.worker, row.status) != (one.attempt, one.worker_id, Status.IN_PROGRESS):
            return False
        row.worker = None
        row.failures += one.counts_as_failure
        row.losses += one.counts_as_loss
        row.history.append(one)
        if one.action in (Action.RETRY, Action.INTERRUPT):
            row.publish_at = self.now + one.delay
            row.not_before = row.publish_at if one.delay else None
            return True
        row.status, row.publish_at = (Status.COMPLETED if one.action is Action.COMPLETE else Status.ERRORED), None
        group = self.groups[row.message.orchestration_id]
        group.completed += one.action is Action.COMPLETE
        group.errored += one.action is not Action.COMPLETE
        group.ended = self.now if group.completed + group.errored == group.total else None
        return True

    def take_back(self, worker: UUID, runs: set[UUID] | None) -> None:
        """Free what a worker holds: all of it if it is dead (`runs` is None), else what it does not run."""
        for row in [row for row in self.jobs.values() if row.worker == worker]:
            held = UnfinishedJob(row.message.job_id, worker, row.attempt, row.losses)
            if runs is None:
                self.settle(settle_worker_lost(held, max_losses=3))
            elif row.message.job_id not in runs:
                self.settle(settle_released(held))
