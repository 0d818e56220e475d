"""The chaos monkey: injects the planned faults, each at its time, and goes on killing until it is cancelled.

Used by the storm. It records every intervention in the pool's own list; the checks say whether a fault was survived.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

WITHHELD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """When what happens: seconds after the begin; None never. A stop and an absence last for so many seconds.

    Killing ends after `kills`, or never: on a busy machine a worker may be killed as soon as it is up. `gently` sends
    SIGTERM instead, where the Pub/Sub can't bear a client that is gone without a word. `drains` workers get SIGTERM in
    any case, one every `drain_every`.
    """

    kill_every: float = 5.0
    kills: int | None = None
    gently: bool = False
    drain_every: float = 5.0
    drains: int = 0
    restart_at: float | None = None
    crash_at: float | None = None
    database_away: float = 2.0
    absence_at: float | None = None
    absence: float = 5.0
    stop_at: float | None = None
    stop: float = 40.0


class Monkey:
    """Runs one plan against a pool and its servers. `await run()` ends only by cancellation.

    `withhold` is told the pid of a worker up to WITHHELD_SECONDS before it is killed.
    """

    def __init__(
        self, stack: Stack, pool: WorkerPool, plan: ChaosPlan, seed: int, withhold: Callable[[int], None] | None = None
    ) -> None:
        self._stage = stack
        self._pool = pool
        self._plan = plan
        self._random = random.Random(seed)
        self._withhold = withhold
        self.away: list[tuple[str, float, float]] = []
        self.finished = asyncio.Event()

    async def run(self) -> None:
        """All of the plan, then killing for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kill())
            planned = [
                tasks.create_task(self._restart()),
                tasks.create_task(self._crash()),
                tasks.create_task(self._absence()),
                tasks.create_task(self._stop()),
                tasks.create_task(self._drain()),
            ]
            await asyncio.wait(planned)
            self.finished.set()

    async def _kill(self) -> None:
        kills = 0
        while self._plan.kills is None or kills < self._plan.kills:
            await asyncio.sleep(self._plan.kill_every)
            if self._pool.free:
                member = self._random.choice(self._pool.free)
                if self._withhold is not None:
                    self._withhold(member.worker.pid)
                    await asyncio.sleep(self._random.uniform(0.0, WITHHELD_SECONDS))
                    if not member.free:
                        continue
                end = self._pool.terminate if self._plan.gently else self._pool.kill
                end(member)
                kills += 1

    async def _drain(self) -> None:
        for _ in range(self._plan.drains):
            await asyncio.sleep(self._plan.drain_every)
            self._pool.terminate(
                self._random.choice(await until(lambda: self._pool.free, within=60, what="a worker is free"))
            )

    async def _restart(self) -> None:
        if self._plan.restart_at is not None:
            await asyncio.sleep(self._plan.restart_at)
            began = time.monotonic()
            await asyncio.to_thread(self._stage.postgres._halt)
            await asyncio.sleep(self._plan.database_away)
            await asyncio.to_thread(self._stage.postgres.start)
            self.away.append(("database restarted", began, time.monotonic()))

    async def _crash(self) -> None:
        if self._plan.crash_at is not None:
            await asyncio.sleep(self._plan.crash_at)
            began = time.monotonic()
            await asyncio.to_thread(self._stage.postgres.crash)
            await asyncio.sleep(self._plan.database_away)
            await asyncio.to_thread(self._stage.postgres.start)
            self.away.append(("database crashed", began, time.monotonic()))

    async def _absence(self) -> None:
        if self._plan.absence_at is not None:
            await asyncio.sleep(self._plan.absence_at)
            began = time.monotonic()
            self._stage.control.go_away()
            await asyncio.sleep(self._plan.absence)
            self._stage.control.come_back()
            self.away.append(("Pub/Sub away", began, time.monotonic()))

    async def _stop(self) -> None:
        if self._plan.stop_at is not None:
            await asyncio.sleep(self._plan.stop_at)
            member = self._random.choice(await until(lambda: self._pool.free, within=60, what="a worker is free"))
            self._pool.stop(member)
            await asyncio.sleep(self._plan.stop)
            self._pool.resume(member)
