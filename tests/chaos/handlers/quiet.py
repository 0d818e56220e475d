"""Handlers that behave: short and long naps, on the event loop and in threads, and walks with a checkpoint."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from daemon import JobContext, job
from tests.chaos import attempt_log


class Nap(BaseModel):
    seconds: float = 0.0


@job("nap")
async def nap(params: Nap, ctx: JobContext) -> float:
    """Sleep on the event loop."""
    with attempt_log.attempt(ctx):
        await asyncio.sleep(params.seconds)
    return params.seconds


@job("doze")
def doze(params: Nap, ctx: JobContext) -> float:
    """Sleep in a thread, but wake when a stop is asked for."""
    with attempt_log.attempt(ctx):
        if ctx.wait_stop(params.seconds):
            ctx.stop_point()
    return params.seconds


class Walk(BaseModel):
    steps: int
    pause: float


@job("walk")
async def walk(params: Walk, ctx: JobContext) -> int:
    """Take steps in order, with the cursor that `track` keeps."""
    with attempt_log.attempt(ctx):
        async for step in ctx.track(range(params.steps), save_every=0.5):
            await asyncio.sleep(params.pause)
            attempt_log.write("step", ctx, step)
    return params.steps


@job("count_up")
def count_up(params: Walk, ctx: JobContext) -> int:
    """The same in a thread, with a checkpoint of its own after each step."""
    with attempt_log.attempt(ctx):
        done = ctx.checkpoint["done"] if isinstance(ctx.checkpoint, dict) else 0
        assert isinstance(done, int)
        for step in range(done, params.steps):
            ctx.wait_stop(params.pause)
            attempt_log.write("step", ctx, step)
            ctx.save({"done": step + 1})
    return params.steps
