"""Handlers that misbehave: they fail, hang, block the loop, swallow a cancellation or take the process with them."""

from __future__ import annotations

import asyncio
import os
import re
import time

from pydantic import BaseModel

from daemon import Backoff, JobContext, job
from tests.chaos import attempt_log


class Mood(BaseModel):
    seconds: float = 0.0
    fails: bool = False


@job("stumble", max_attempts=2, retry=Backoff(initial=0.1, factor=1, maximum=0.1, jitter=False))
async def stumble(params: Mood, ctx: JobContext) -> str:
    """Raise each time if told so."""
    with attempt_log.attempt(ctx):
        if params.fails:
            raise ValueError(f"instance {ctx.index} was told to fail")
    return "stood"


@job("falter", max_attempts=1)
async def falter(params: Mood, ctx: JobContext) -> str:
    """Fail the first time, whoever is to blame; an operator's retry succeeds."""
    with attempt_log.attempt(ctx):
        await asyncio.sleep(params.seconds)
        if ctx.attempt == 1:
            raise ValueError("the first attempt fails")
    return "stood"


@job("poison")
async def poison(params: Mood, ctx: JobContext) -> None:
    """End the whole process, as running out of memory does."""
    attempt_log.write("begin", ctx)
    os._exit(137)


@job("swallow")
async def swallow(params: Mood, ctx: JobContext) -> str:
    """Refuse to be cancelled."""
    with attempt_log.attempt(ctx):
        end = time.monotonic() + params.seconds
        while time.monotonic() < end:
            try:
                await asyncio.sleep(end - time.monotonic())
            except asyncio.CancelledError:
                attempt_log.write("swallowed", ctx, ctx.stop_reason)
    return "outlived it"


@job("block")
async def block(params: Mood, ctx: JobContext) -> None:
    """Block the event loop, the first time only: whoever runs next to it in the next worker shall begin as well."""
    with attempt_log.attempt(ctx):
        if ctx.attempt > 1:
            return
        time.sleep(params.seconds)  # noqa: ASYNC251 - this is the fault


@job("deaf")
def deaf(params: Mood, ctx: JobContext) -> None:
    """Sit in a thread and never look whether a stop is asked for."""
    with attempt_log.attempt(ctx):
        time.sleep(params.seconds)


@job("seize")
def seize(params: Mood, ctx: JobContext) -> None:
    """When a stop is asked for, hold the whole interpreter in C: no thread of Python runs any more."""
    with attempt_log.attempt(ctx):
        ctx.wait_stop(params.seconds)
        re.match(r"(a+)+$", "a" * 60 + "b")


@job("hurried", timeout=1.0, max_attempts=1)
async def hurried(params: Mood, ctx: JobContext) -> None:
    """Take longer than its timeout."""
    with attempt_log.attempt(ctx):
        await asyncio.sleep(params.seconds)


@job("jump")
async def jump(params: Mood, ctx: JobContext) -> None:
    """Set the clock of this process forward or back, as an administrator does to a machine."""
    with attempt_log.attempt(ctx):
        before = time.time
        time.time = lambda: before() + params.seconds
