"""How long messages are leased: briefly while they wait for a slot, for long once they run.

Called by `streaming_pull` for each response and every TICK seconds, on the thread of the streams. A worker that is
killed had pulled messages that no row records; their short leases redeliver them about when its jobs are rescued. A
message that runs gets the long lease, to survive an outage.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from google.api_core.exceptions import GoogleAPICallError

from daemon.pubsub.outstanding import Outstanding, Received
from daemon.pubsub.replies import Replies, batches

TICK = 5.0
WAITING_SECONDS = 30

Modify = Callable[[list[str], int], Awaitable[None]]


class Leases:
    """The leases of all outstanding messages. `modify` sends one ModifyAckDeadline, `nacks` takes what goes back."""

    def __init__(self, outstanding: Outstanding, modify: Modify, nacks: Replies, lease_seconds: float) -> None:
        self._outstanding = outstanding
        self._modify = modify
        self._nacks = nacks
        self._running_seconds = round(lease_seconds)
        self._waiting_seconds = min(WAITING_SECONDS, self._running_seconds)
        self.calls: set[asyncio.Task[None]] = set()  # under way

    def receipt(self, received: list[Received]) -> None:
        """The first lease of new messages. Pub/Sub starts the ack timer with it, or ten minutes later."""
        self._extend(received, self._waiting_seconds)

    def renew(self, now: float) -> None:
        """Extend what has less than two thirds of its lease left, or now runs under the short lease."""
        for table, seconds in (
            (self._outstanding.running, self._running_seconds),
            (self._outstanding.waiting, self._waiting_seconds),
        ):
            due = [
                one
                for one in list(table.values())
                if one.after_modack is None and (one.lease_seconds < seconds or one.lease_until - now < seconds * 2 / 3)
            ]
            self._extend(due, seconds)

    def nack(self, received: Received) -> None:
        """Nack one, after any lease call in flight: applied later, that would hide the message again."""
        if received.after_modack is not None:
            received.after_modack.append(received)
        else:
            self._nacks.put((received,))

    def _extend(self, received: list[Received], seconds: int) -> None:
        for batch in batches(received):
            call = asyncio.get_running_loop().create_task(self._extend_batch(batch, seconds))
            self.calls.add(call)
            call.add_done_callback(self.calls.discard)
            after: list[Received] = []
            for one in batch:
                one.after_modack = after

    async def _extend_batch(self, batch: list[Received], seconds: int) -> None:
        until = time.monotonic() + seconds
        after = batch[0].after_modack
        answered = False
        try:
            await self._modify([one.ack_id for one in batch], seconds)
            answered = True
        except GoogleAPICallError:
            return  # the next tick tries again
        finally:
            for one in batch:
                one.after_modack = None
                if answered:
                    one.lease_seconds, one.lease_until = seconds, until
            self._nacks.put(after or ())
