"""Three jobs of a shop: a quick one, one that depends on something unreliable, and a long one."""

from __future__ import annotations

import asyncio

from daemon import Backoff, JobContext, job

SOON = Backoff(initial=0.5, factor=1, maximum=0.5)


@job("thumbnail")
async def thumbnail(params: dict) -> None:
    """Take as long as told."""
    await asyncio.sleep(params["seconds"])


@job("invoice", max_attempts=3, retry=SOON)
async def invoice(params: dict, ctx: JobContext) -> None:
    """Fail as often as told."""
    await asyncio.sleep(params["seconds"])
    if ctx.attempt <= params["failures"]:
        raise ConnectionError("the printer does not answer")


@job("export")
async def export(params: dict) -> None:
    """Take long, and deaf to an orderly stop until its budget is over."""
    await asyncio.sleep(params["seconds"])
