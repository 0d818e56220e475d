"""The store of one worker: claim, settle, reject, each awaited by its caller and written in groups.

Built by the service, used by `engine/` through its protocols. It carries decisions out and takes none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import anyio
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.delivery import Delivery
from daemon.job import Claim, ClaimAnswer, JobMessage, Settled, Settlement
from daemon.observe import Observer
from daemon.postgres.claims import ClaimRequest, Claims
from daemon.postgres.group_commit import GroupCommit
from daemon.postgres.progress import ProgressBuffer
from daemon.postgres.rejections import Rejection, Rejections
from daemon.postgres.settlements import Settlements
from daemon.postgres.steps import DurableSteps
from daemon.rules.limits import JobLimit


class Store:
    """Group commits to the database. `completed` is called when an event may be due, `released` when permits are free,
    `on_unavailable` with True when one of them stalls, and with False when it goes on. `limits` are the handlers'."""

    def __init__(
        self,
        engine: AsyncEngine,
        me: Callable[[], UUID],
        worker_ttl: float,
        observer: Observer,
        *,
        completed: Callable[[], None],
        released: Callable[[], None] = lambda: None,
        on_unavailable: Callable[[bool], None],
        limits: Iterable[JobLimit] = (),
    ) -> None:
        self._completed = completed
        self.progress = ProgressBuffer(engine, observer, on_unavailable)
        self.steps = DurableSteps(engine, observer, on_unavailable)
        claims, settlements = Claims(engine, me, worker_ttl, limits), Settlements(engine, completed, released)
        self._pinned = (claims.pinned, settlements.pinned)
        self._claims: GroupCommit[ClaimRequest, ClaimAnswer] = GroupCommit(
            "claim",
            claims.write,
            observer,
            size_of=lambda request: len(request.message.params or ""),
            on_unavailable=on_unavailable,
        )
        self._settlements: GroupCommit[Settlement, Settled] = GroupCommit(
            "settle",
            settlements.write,
            observer,
            size_of=lambda settlement: len(settlement.result or ""),
            on_unavailable=on_unavailable,
            low_priority=True,  # the handlers that ended have left their slots to jobs that must be claimed
        )
        self._rejections: GroupCommit[Rejection, bool] = GroupCommit(
            "reject",
            Rejections(engine).write,
            observer,
            size_of=lambda rejection: len(rejection.data),
            on_unavailable=on_unavailable,
        )

    def claim(self, message: JobMessage) -> Awaitable[ClaimAnswer]:
        """Ask for the right to run a message's job. Raises a data error that is this message's own fault."""
        return self._claims.submit(ClaimRequest(message))

    def settle(self, claim: Claim, settlement: Settlement) -> Awaitable[Settled]:
        """Store the end of an attempt; answers once it is committed. Raises a data error of this settlement."""
        if self.progress.pending(claim):
            return self._settle_after_progress(claim, settlement)
        return self._settlements.submit(settlement)

    async def _settle_after_progress(self, claim: Claim, settlement: Settlement) -> Settled:
        await self.progress.flush_for(claim)
        return await self._settlements.submit(settlement)

    async def reject(self, delivery: Delivery, reason: str, text: str, instance: JobMessage | None) -> None:
        """Keep a message that can't become a job, whole; close the instance it stood for."""
        attributes, published = dict(delivery.attributes), delivery.publish_time
        rejection = Rejection(delivery.message_id, reason, text, delivery.data, attributes, published, instance)
        if await self._rejections.submit(rejection):
            self._completed()

    @property
    def unavailable(self) -> bool:
        """Whether anything waits for the database to answer again."""
        commits = (self._claims, self._settlements, self._rejections, self.progress, self.steps)
        return any(commit.unavailable for commit in commits)

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                for commit in (self._claims, self._settlements, self._rejections, self.progress, self.steps):
                    tasks.start_soon(commit.run)
        finally:
            with anyio.CancelScope(shield=True):
                for pinned in self._pinned:
                    await pinned.close()
