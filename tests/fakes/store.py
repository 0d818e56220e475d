"""The pipeline's store on rows in memory: claim, settle, reject, each committed between two pauses.

Used by the crash test, which stops it at every pause; held to tests/contract/store like the real one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID, uuid4

from daemon.delivery import Delivery
from daemon.job import Claim, ClaimAnswer, JobError, JobMessage, Kind, Settled, Settlement, UnfinishedJob
from daemon.rules.claim_answer import AlreadyClaimedByUs, ClaimView, explain_refusal
from daemon.rules.lifecycle import settle_closed
from tests.fakes.bus import at_once
from tests.fakes.rows import Row
from tests.fakes.tables import Tables


class MemoryStore:
    """One worker's view of the tables; `me` changes when the worker is declared dead and registers again."""

    def __init__(self, tables: Tables, me: UUID, pause: Callable[[str], Awaitable[None]] = at_once) -> None:
        self.tables, self.me, self._pause = tables, me, pause

    async def claim(self, message: JobMessage) -> ClaimAnswer:
        await self._pause("claim asked")
        answer = self._claim(message)
        await self._pause("claim committed")
        return answer

    async def settle(self, claim: Claim, settlement: Settlement) -> Settled:
        await self._pause("settlement asked")
        (settled,) = self.tables.settle([settlement])
        await self._pause("settlement committed")
        return settled

    async def reject(self, delivery: Delivery, reason: str, text: str, instance: JobMessage | None) -> None:
        await self._pause("rejection asked")
        self.tables.rejected[delivery.message_id] = reason
        if instance is not None and self.tables.insert(instance):
            job = UnfinishedJob(instance.job_id, None, 0)
            self.tables.settle([settle_closed(job, JobError(Kind.REJECTED, text))])
        await self._pause("rejection committed")

    def _claim(self, message: JobMessage) -> ClaimAnswer:
        if message.carries_params:
            self.tables.insert(message)
        row = self.tables.jobs.get(message.job_id)
        view = self._view(message, row)
        creates = message.carries_params
        if row is None or view.elsewhere or not isinstance(self.tables.claim(row, self.me, creates), int):
            answer = explain_refusal(message, view, self.me, uuid4())
            assert not isinstance(answer, AlreadyClaimedByUs), "every claim has a token of its own here"
            return answer
        row.message_id = message.message_id
        known, group = row.message, self.tables.groups[row.message.orchestration_id]
        ids = (known.job_id, known.orchestration_id, self.me, known.index, group.total, known.job_name)
        spent = (row.attempt, row.failures, row.losses)
        return Claim(*ids, known.params or "{}", *spent, group.first.tags, None, self.tables.now, None, None, None)

    def _view(self, message: JobMessage, row: Row | None) -> ClaimView:
        if row is not None:
            elsewhere = message.carries_params and row.message.orchestration_id != message.orchestration_id
            early = self.tables.is_early(row)
            return ClaimView(True, row.status, row.worker, None, row.message_id, early, elsewhere)
        group, other = self.tables.groups.get(message.orchestration_id), self.tables.taken(message)
        if group is None:
            return ClaimView(False)
        total, name = group.total, group.first.job_name
        view = ClaimView(False, registered=True, registered_total=total, registered_name=name)
        if other is None:
            return view
        taken = {"taken_by": other.message.job_id, "taken_status": other.status, "taken_attempt": other.attempt}
        return replace(view, **taken)
