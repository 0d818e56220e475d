"""Handlers that say when they run: threads that listen to nobody, and a job that any worker does at once."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from pydantic import BaseModel

from daemon import Backoff, JobContext, job

AT_ONCE = Backoff(initial=0, maximum=0, jitter=False)


class Work(BaseModel):
    """How long to work, and the file that begin and end are written to."""

    seconds: float
    diary: str


def _deaf(params: Work, ctx: JobContext) -> None:
    with Path(params.diary).open("a", buffering=1) as diary:
        diary.write(f"begin {ctx.attempt} {os.getpid()} {time.time()}\n")
        end = time.monotonic() + params.seconds
        while time.monotonic() < end:
            time.sleep(0.05)
        diary.write(f"end {ctx.attempt} {os.getpid()} {time.time()}\n")


@job("deaf")
def deaf(params: Work, ctx: JobContext) -> None:
    """Work in a thread and listen to nobody."""
    _deaf(params, ctx)


@job("deaf_and_late", timeout=0.5, max_attempts=2, retry=AT_ONCE)
def deaf_and_late(params: Work, ctx: JobContext) -> None:
    """The same, beyond its timeout."""
    _deaf(params, ctx)


@job("at_once")
async def at_once(params: dict) -> None:
    """Do nothing."""


@job("waits")
async def waits(params: Work) -> None:
    """Take so long that somebody else ends it."""
    await asyncio.sleep(params.seconds)
