"""The rows of a database in memory: the oracle, with a clock and with rows that messages make.

Shared by the fake store and by the fake relay's view of what is due. Time is a number that tests move on.
"""

from __future__ import annotations

from uuid import UUID

from daemon.job import JobMessage, Refusal, Settlement, Status, UnfinishedJob
from daemon.rules.lifecycle import settle_released, settle_workers_lost
from tests.fakes.rows import Group, Row
from tests.model.oracle import Oracle

MAX_LOSSES = 3


class Tables(Oracle[Row]):
    """Everything that is committed."""

    def __init__(self) -> None:
        super().__init__([], MAX_LOSSES)
        self.now = 0.0
        self.groups: dict[UUID, Group] = {}
        self.rejected: dict[str, str] = {}

    def insert(self, message: JobMessage) -> bool:
        """Make the row of a message that may have one; False if it has one already or may not."""
        owner = message.orchestration_id
        if message.count is not None:
            self.groups.setdefault(owner, Group(owner, message.count, first=message))
        group = self.groups.get(owner)
        if group is None or message.index >= group.total or message.count not in (None, group.total):
            return False
        if message.job_name != group.first.job_name or message.job_id in self.jobs or self.taken(message):
            return False
        row = Row(message.job_id, group, message.index, Status.IN_PROGRESS, message=message, publish_at=self.now)
        self.jobs[message.job_id] = row
        return True

    def taken(self, message: JobMessage) -> Row | None:
        """Whoever has the message's index."""
        index = (message.orchestration_id, message.index)
        return next((row for row in self.jobs.values() if (row.whole.id, row.index) == index), None)

    def is_early(self, row: Row) -> bool:
        return row.not_before is not None and row.not_before > self.now

    def claim(self, job: Row, worker: UUID, creates: bool) -> int | Refusal | None:
        job.early = self.is_early(job)
        attempt = super().claim(job, worker, creates)
        if isinstance(attempt, int):
            job.publish_at = job.not_before = None
        return attempt

    def _apply(self, job: Row, one: Settlement) -> None:
        super()._apply(job, one)
        job.history.append(one)
        job.publish_at = self.now + one.delay if job.unfinished else None
        job.not_before = job.publish_at if one.delay else None
        if isinstance(job.whole, Group) and job.whole.complete:
            job.whole.ended = self.now

    def take_back(self, worker: UUID, runs: set[UUID] | None) -> None:
        """Free what a worker holds: all of it if it is dead (`runs` is None), else what it does not run."""
        for row in self.held_by(worker):
            job = UnfinishedJob(row.id, worker, row.attempt, row.losses)
            if runs is None:
                self.settle(settle_workers_lost([job], MAX_LOSSES))
            elif row.id not in runs:
                self.settle([settle_released(job)])
