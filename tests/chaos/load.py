"""The load of a chaos run: orchestrations kicked off over a while, by rows and by messages, whatever is away meanwhile.

Used by the storm. A producer here does what a careful one does: it repeats what failed, under the same key or with the
same messages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from uuid import UUID, uuid4

from daemon.client import Client
from daemon.errors import PublishFailed
from daemon.job import JobMessage
from daemon.pubsub.publisher import Publisher
from daemon.rules.messages import encode, instance_id
from daemon.rules.storable import encode_json
from tests.chaos.stack import Stack

NAMES = ("nap", "nap", "nap", "doze")
PAUSE = 0.5


class Load:
    """Makes `orchestrations` of `size` instances each, spread over `seconds`; every other one by messages only.

    Each orchestration is of one job name, whose params are the `seconds` of a nap. These are `nap` on average, or what
    `naps` says of the name.
    """

    def __init__(
        self,
        stack: Stack,
        orchestrations: int,
        size: int,
        *,
        seconds: float,
        nap: float = 0.0,
        seed: int,
        naps: Mapping[str, float] | None = None,
    ) -> None:
        self._stage = stack
        self._count = orchestrations
        self._size = size
        self._pause = seconds / orchestrations
        self._naps = dict.fromkeys(NAMES, nap) if naps is None else naps
        self._names = NAMES if naps is None else tuple(naps)
        self._random = random.Random(seed)
        self._topic = stack.settings().topic("jobs")
        self.made: list[UUID] = []
        self.repeated = 0

    @property
    def jobs(self) -> int:
        return self._count * self._size

    async def run(self) -> None:
        """Make them all."""
        publisher = Publisher()
        try:
            async with self._stage.client() as client, asyncio.TaskGroup() as producers:
                for number in range(self._count):
                    name = self._random.choice(self._names)
                    params = [{"seconds": self._naps[name] * self._random.uniform(0.5, 1.5)} for _ in range(self._size)]
                    if number % 2:
                        producers.create_task(self._by_messages(publisher, name, params))
                    else:
                        producers.create_task(self._by_rows(client, name, params))
                    await asyncio.sleep(self._pause)
        finally:
            await publisher.close()

    async def _by_rows(self, client: Client, name: str, params: Sequence[object]) -> None:
        key = uuid4().hex
        while True:
            try:
                made = await client.kick_off(name, params, idempotency_key=key, tags={"by": "rows"})
            except Exception:  # the database is away: whatever was committed is found again by the key
                self.repeated += 1
                await asyncio.sleep(PAUSE)
                continue
            self.made.append(made.id)
            return

    async def _by_messages(self, publisher: Publisher, name: str, params: Sequence[object]) -> None:
        orchestration = uuid4()
        messages = [
            encode(
                JobMessage(
                    job_name=name,
                    job_id=instance_id(orchestration, index),
                    orchestration_id=orchestration,
                    index=index,
                    count=len(params),
                    params=encode_json(one, 10_000),
                    tags={"by": "messages"},
                )
            )
            for index, one in enumerate(params)
        ]
        while True:
            try:
                await publisher.publish(self._topic, messages)
            except PublishFailed:
                self.repeated += 1
                await asyncio.sleep(PAUSE)
                continue
            self.made.append(orchestration)
            return
