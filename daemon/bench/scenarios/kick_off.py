"""Kick-off: 100,000 instances by `Client.kick_off`, rows committed and messages published, against a bare COPY.

The COPY writes the same rows into the same table with the same indexes, and publishes nothing.
"""

from __future__ import annotations

import asyncio
import time

from daemon.bench.baselines import measure
from daemon.bench.figures import Report, mean
from daemon.bench.measurement import Bench
from daemon.client import Client
from daemon.settings import load


def kick_off(bench: Bench) -> Report:
    """Instances a second, and what a COPY does."""
    jobs = bench.size(100_000, 10_000)
    report = Report("kick-off")
    before = _copy(bench, jobs)
    environment = bench.stack.environment()
    began = time.monotonic()
    asyncio.run(_kick_off(environment.variables, jobs))
    seconds = time.monotonic() - began
    bench.stack.drop(environment)
    baselines = [before, _copy(bench, jobs)]
    report.put(f"kick_off of {jobs:,}", jobs / seconds, "/s")
    report.put("seconds until it returns", seconds, "s")
    report.put("bare COPY of the same rows", mean(baselines, "per_second"), "/s")
    report.put("ratio", jobs / seconds / mean(baselines, "per_second"))
    return report


async def _kick_off(environment: dict[str, str], jobs: int) -> None:
    async with Client(load(environment)) as client:
        await client.kick_off("noop", [{"number": number} for number in range(jobs)])


def _copy(bench: Bench, jobs: int) -> dict[str, float]:
    environment = bench.stack.environment()
    figures = measure("copy", url=environment.url, jobs=jobs)
    bench.stack.drop(environment)
    return figures
