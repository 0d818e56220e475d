"""Handlers with spans of their own, made by OpenTelemetry's public API alone, as an instrumented library makes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from opentelemetry import trace

from daemon import Backoff, JobContext, job


@job("traced", max_attempts=1)
async def traced(params: dict) -> None:
    """Do something that has a span."""
    with trace.get_tracer("shop").start_as_current_span("resize"):
        await asyncio.sleep(0)


@job("stumbling", max_attempts=2, retry=Backoff(initial=0.1, factor=1, maximum=0.1, jitter=False))
def stumbling(params: dict, ctx: JobContext) -> None:
    """Fail at the first attempt."""
    if ctx.attempt == 1:
        raise ValueError("the first attempt fails")


@job("held")
async def held(params: dict, ctx: JobContext) -> None:
    """Wait for a file."""
    gate = Path(params["file"])
    while not gate.exists():  # noqa: ASYNC110, ASYNC240 - a file has no event
        await asyncio.sleep(0.02)
