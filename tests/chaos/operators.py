"""Operators: cancel some orchestrations soon after their kick-off, and retry whatever has failed until nothing has.

Used by the storm with delayed packets. They reach Postgres as the workers do, and repeat what failed. An orchestration
is retried as soon as that is allowed: handlers of its cancelled jobs may still run then.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from daemon.client import Client
from daemon.errors import OrchestrationNotFound, RequestRefused
from tests.chaos.stack import Stack

PAUSE = 0.1
CONNECTIONS = 6
FAILED = """
SELECT id, outcome FROM orchestration
WHERE completed_at IS NOT NULL AND errored > 0 AND event_published_at IS NOT NULL
"""


class Operators:
    """Cancel those of `made`, which grows, whose indexes are in `cancels`, within `hesitation` seconds; retry any.

    `done` counts: what they did, what was refused and what they had to repeat.
    """

    def __init__(
        self, stack: Stack, made: Sequence[UUID], cancels: frozenset[int], *, hesitation: float, seed: int
    ) -> None:
        self.done: Counter[str] = Counter()
        self.cancelled_all = asyncio.Event()
        self._stage = stack
        self._made = made
        self._cancels = cancels
        self._hesitation = hesitation
        self._random = random.Random(seed)
        self._retrying: set[UUID] = set()

    async def run(self) -> None:
        """Work; ends only by cancellation."""
        async with (
            self._stage.client(as_workers=True, connections=CONNECTIONS) as client,
            asyncio.TaskGroup() as operators,
        ):
            operators.create_task(self._cancel_some(client))
            while True:
                for orchestration, outcome in await asyncio.to_thread(self._stage.rows, FAILED):
                    if orchestration not in self._retrying:
                        self._retrying.add(orchestration)
                        operators.create_task(self._retry(client, orchestration, outcome))
                await asyncio.sleep(PAUSE)

    async def _cancel_some(self, client: Client) -> None:
        async with asyncio.TaskGroup() as cancels:
            for index in sorted(self._cancels):
                while len(self._made) <= index:  # noqa: ASYNC110 - the load grows it
                    await asyncio.sleep(PAUSE)
                pause = self._random.uniform(0.0, self._hesitation)
                cancels.create_task(self._cancel(client, self._made[index], pause))
        self.cancelled_all.set()

    async def _cancel(self, client: Client, orchestration: UUID, pause: float) -> None:
        await asyncio.sleep(pause)
        while True:
            try:
                ended = await client.cancel(orchestration)
                state = await client.state(orchestration)
            except OrchestrationNotFound:  # its first message is not claimed yet
                await asyncio.sleep(PAUSE)
            except Exception:
                self.done["cancels repeated"] += 1
                await asyncio.sleep(PAUSE)
            else:
                if ended or state.completed_at is not None or state.generation > 1:
                    self.done["cancels" if ended else "cancels that came too late, or whose answer was lost"] += 1
                    return

    async def _retry(self, client: Client, orchestration: UUID, outcome: str) -> None:
        whole = "whole orchestrations" if outcome == "Errored" else "failed instances"
        try:
            if await client.retry_failed(orchestration):
                self.done[f"retries of {whole}"] += 1
        except RequestRefused:  # an earlier one, whose answer was lost, took effect
            self.done["retries refused"] += 1
        except Exception:
            self.done["retries repeated"] += 1
        finally:
            self._retrying.discard(orchestration)
