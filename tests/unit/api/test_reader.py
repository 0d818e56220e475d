"""The reader: one look for all, however many follow, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from daemon.api.streams.reader import Reader
from daemon.live import Changes, Position
from daemon.telemetry.metrics.registry import MetricsRegistry
from daemon.telemetry.metrics.requests import RequestMetrics
from tests.harness.waiting import until


class Looks:
    """A database that has nothing, and may fail."""

    def __init__(self) -> None:
        self.asked: list[list[UUID]] = []
        self.fails = False

    async def look(self, positions: Sequence[Position]) -> Changes:
        self.asked.append([position.id for position in positions])
        if self.fails:
            raise ConnectionError("no database")
        return Changes("e", ())

    async def valid(self, links: Sequence[UUID]) -> list[UUID]:
        return list(links)


async def test_a_look_asks_for_each_orchestration_once_however_many_follow_it() -> None:
    looks, stopping = Looks(), asyncio.Event()
    reader = Reader(looks.look, looks.valid, stopping.is_set, RequestMetrics(MetricsRegistry("p")))
    running = asyncio.ensure_future(reader.run())
    ids = [UUID(int=number) for number in (1, 2)]
    following = [reader.following(ids[number % 2]) for number in range(200)]
    opened = [one.__enter__() for one in following]
    await until(lambda: len(looks.asked) >= 2, what="two looks")
    assert all(sorted(asked) == ids for asked in looks.asked)
    assert all(watch.looked for watch, _ in opened)

    looks.fails = True
    seen = len(looks.asked)
    await until(lambda: len(looks.asked) > seen + 1, what="a look after one that failed")
    for one in following:
        one.__exit__(None, None, None)
    stopping.set()
    await running
    assert reader.closed
    assert all(waker.is_set() for _, waker in opened[:1])
