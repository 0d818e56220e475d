"""The monkey: does the planned harm, each at its time, and goes on killing until it is called off.

Used by the storm. It records every blow in the crew's own list; whether the harm was survived is not its business.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.crew import Crew
from tests.chaos.stage import Stage
from tests.harness.waiting import until

WITHHELD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Mischief:
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
    """Runs one plan against a crew and its servers. `await run()` ends only by cancellation.

    `withhold` is told the pid of a worker up to WITHHELD_SECONDS before it is killed.
    """

    def __init__(
        self, stage: Stage, crew: Crew, plan: Mischief, seed: int, withhold: Callable[[int], None] | None = None
    ) -> None:
        self._stage = stage
        self._crew = crew
        self._plan = plan
        self._random = random.Random(seed)
        self._withhold = withhold
        self.away: list[tuple[str, float, float]] = []
        self.finished = asyncio.Event()

    async def run(self) -> None:
        """All of the plan, then killing for ever."""
        async with asyncio.TaskGroup() as hands:
            hands.create_task(self._kill())
            planned = [
                hands.create_task(self._restart()),
                hands.create_task(self._crash()),
                hands.create_task(self._absence()),
                hands.create_task(self._stop()),
                hands.create_task(self._drain()),
            ]
            await asyncio.wait(planned)
            self.finished.set()

    async def _kill(self) -> None:
        kills = 0
        while self._plan.kills is None or kills < self._plan.kills:
            await asyncio.sleep(self._plan.kill_every)
            if self._crew.free:
                member = self._random.choice(self._crew.free)
                if self._withhold is not None:
                    self._withhold(member.worker.pid)
                    await asyncio.sleep(self._random.uniform(0.0, WITHHELD_SECONDS))
                    if not member.free:
                        continue
                strike = self._crew.dismiss if self._plan.gently else self._crew.kill
                strike(member)
                kills += 1

    async def _drain(self) -> None:
        for _ in range(self._plan.drains):
            await asyncio.sleep(self._plan.drain_every)
            self._crew.dismiss(
                self._random.choice(await until(lambda: self._crew.free, within=60, what="somebody is free"))
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
            member = self._random.choice(await until(lambda: self._crew.free, within=60, what="somebody is free"))
            self._crew.stop(member)
            await asyncio.sleep(self._plan.stop)
            self._crew.go_on(member)
