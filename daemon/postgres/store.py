"""The store of one worker: claim, settle, reject, each awaited one by one and written in groups.

Built by the service, used by `engine/` through its protocols. It carries decisions out and takes none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import anyio
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.delivery import Delivery
from daemon.job import Claim, ClaimAnswer, JobMessage, Settled, Settlement
from daemon.observe import Observer
from daemon.postgres.claims import ClaimRequest, Claims
from daemon.postgres.group_commit import GroupCommit
from daemon.postgres.records import Records
from daemon.postgres.rejections import Rejection, Rejections
from daemon.postgres.settlements import Settlements


class Store:
    """Lanes to the database. `completed` is called when an event may be due, `on_away` when a lane stalls."""

    def __init__(
        self,
        engine: AsyncEngine,
        me: Callable[[], UUID],
        worker_ttl: float,
        observer: Observer,
        *,
        completed: Callable[[], None],
        on_away: Callable[[bool], None],
    ) -> None:
        self._completed = completed
        self.records = Records(engine, observer, on_away)
        claims = Claims(engine, me, worker_ttl)
        self._settling = Settlements(engine)
        self._kept = (claims.kept, self._settling.kept)
        self._claims: GroupCommit[ClaimRequest, ClaimAnswer] = GroupCommit(
            "claim", claims.write, observer, weigh=_request_bytes, on_away=on_away
        )
        self._settlements: GroupCommit[Settlement, Settled] = GroupCommit(
            "settle", self._settle, observer, weigh=_settlement_bytes, on_away=on_away, gives_way=True
        )  # the handlers that ended have left their slots to jobs that must be claimed
        self._rejections: GroupCommit[Rejection, bool] = GroupCommit(
            "reject", Rejections(engine).write, observer, weigh=lambda one: len(one.data), on_away=on_away
        )

    def claim(self, message: JobMessage) -> Awaitable[ClaimAnswer]:
        """Ask for the right to run a message's job. Raises what only this message can be guilty of (a data error)."""
        return self._claims.submit(ClaimRequest(message))

    def settle(self, claim: Claim, settlement: Settlement) -> Awaitable[Settled]:
        """Store the end of an attempt; answers once it is committed. Raises a data error of this settlement."""
        if self.records.has_words(claim):
            return self._settle_after_last_words(claim, settlement)
        return self._settlements.submit(settlement)

    async def _settle_after_last_words(self, claim: Claim, settlement: Settlement) -> Settled:
        await self.records.last_words(claim)
        return await self._settlements.submit(settlement)

    async def _settle(self, settlements: list[Settlement]) -> list[Settled]:
        answers, completes = await self._settling.write(settlements)
        if completes:
            self._completed()
        return answers

    async def reject(self, delivery: Delivery, reason: str, text: str, instance: JobMessage | None) -> None:
        """Keep a message that can't become a job, whole; close the instance it stood for."""
        rejection = Rejection(
            message_id=delivery.message_id,
            reason=reason,
            text=text,
            data=delivery.data,
            attributes=dict(delivery.attributes),
            published=delivery.publish_time,
            instance=instance,
        )
        if await self._rejections.submit(rejection):
            self._completed()

    @property
    def away(self) -> bool:
        """Whether any lane waits for the database to come back."""
        return self._claims.away or self._settlements.away or self._rejections.away or self.records.away

    async def run(self) -> None:
        """Write for ever; ends by cancellation."""
        try:
            async with anyio.create_task_group() as lanes:
                lanes.start_soon(self._claims.run)
                lanes.start_soon(self._settlements.run)
                lanes.start_soon(self._rejections.run)
                lanes.start_soon(self.records.run)
        finally:
            with anyio.CancelScope(shield=True):
                for kept in self._kept:
                    await kept.close()


def _request_bytes(request: ClaimRequest) -> int:
    return len(request.message.params or "")


def _settlement_bytes(settlement: Settlement) -> int:
    return len(settlement.result or "")
