"""Kick-off: 100,000 instances by `Client.kick_off`, rows committed and messages published, against a bare COPY.

The COPY writes the same rows into the same table with the same indexes, and publishes nothing.
"""

from __future__ import annotations

import asyncio
import time

from daemon.bench.figures import Sheet, mean
from daemon.bench.floors import measure
from daemon.bench.shift import Bench
from daemon.client import Client
from daemon.settings import load


def kick_off(bench: Bench) -> Sheet:
    """Instances a second, and what a COPY does."""
    jobs = bench.size(100_000, 10_000)
    sheet = Sheet("kick-off")
    before = _copy(bench, jobs)
    site = bench.stack.site()
    began = time.monotonic()
    asyncio.run(_kick_off(site.environment, jobs))
    seconds = time.monotonic() - began
    bench.stack.drop(site)
    floors = [before, _copy(bench, jobs)]
    sheet.put(f"kick_off of {jobs:,}", jobs / seconds, "/s")
    sheet.put("seconds until it returns", seconds, "s")
    sheet.put("bare COPY of the same rows", mean(floors, "per_second"), "/s")
    sheet.put("ratio", jobs / seconds / mean(floors, "per_second"))
    return sheet


async def _kick_off(environment: dict[str, str], jobs: int) -> None:
    async with Client(load(environment)) as client:
        await client.kick_off("noop", [{"number": number} for number in range(jobs)])


def _copy(bench: Bench, jobs: int) -> dict[str, float]:
    site = bench.stack.site()
    figures = measure("copy", url=site.url, jobs=jobs)
    bench.stack.drop(site)
    return figures
