"""Handlers that wait, fail, hope or block, as their params say: each is the cause of an alert."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from daemon import Backoff, JobContext, job


def is_there(params: dict) -> bool:
    return Path(params["file"]).exists()


@job("nap", max_attempts=1)
async def nap(params: dict, ctx: JobContext) -> float:
    """Sleep, and fail if told so; result or error say how long it was by this handler's own clock, in seconds."""
    began = time.monotonic()
    await asyncio.sleep(params.get("seconds", 0.0))
    took = time.monotonic() - began
    if params.get("fails"):
        raise ValueError(f"told to fail after {took}")
    return took


@job("stumble", max_attempts=2, retry=Backoff(initial=0.2, factor=1, maximum=0.2, jitter=False))
async def stumble(params: dict, ctx: JobContext) -> None:
    """Fail at the first attempt."""
    if ctx.attempt == 1:
        raise ValueError("the first attempt fails")


@job("wait_for")
async def wait_for(params: dict, ctx: JobContext) -> None:
    """Wait for a file for as long as it takes."""
    while not is_there(params):  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.05)


@job("hope_for", max_attempts=1000, retry=Backoff(initial=0.2, factor=1, maximum=0.2, jitter=False))
async def hope_for(params: dict, ctx: JobContext) -> None:
    """Try again and again until a file is there."""
    if not is_there(params):
        raise ConnectionError("what this depends on is away")


@job("block", max_attempts=1)
async def block(params: dict, ctx: JobContext) -> None:
    """Hold the event loop until a file is there."""
    while not is_there(params):
        time.sleep(0.05)  # noqa: ASYNC251 - this is the fault


@job("cling")
async def cling(params: dict, ctx: JobContext) -> None:
    """Wait for a file; when cancelled, hold the event loop instead of ending."""
    try:
        while not is_there(params):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        while not is_there(params):
            time.sleep(0.05)  # noqa: ASYNC251 - this is the fault
        raise


@job("ignore", max_attempts=1, timeout=timedelta(seconds=1))
async def ignore(params: dict) -> None:
    """Wait for a file, whoever cancels it."""
    while not is_there(params):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
