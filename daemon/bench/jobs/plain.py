"""No-op, stopwatch and nap: what the scenarios run.

Found by the worker's own discovery. They import the registry and not the door, as everything inside does.
"""

from __future__ import annotations

import asyncio
import time

from pydantic import BaseModel

from daemon.registry import job


class Sent(BaseModel):
    """When the message was published, by this machine's clock (seconds since the epoch)."""

    sent: float


class Nap(BaseModel):
    """How long to hold a slot (seconds)."""

    seconds: float


@job("noop")
async def noop(params: dict[str, object]) -> None:
    """Nothing at all."""


@job("stopwatch")
async def stopwatch(params: Sent) -> float:
    """Seconds from the publication to this line."""
    return time.time() - params.sent


@job("nap", timeout=3600)
async def nap(params: Nap) -> None:
    """Hold a slot and leave the loop alone."""
    await asyncio.sleep(params.seconds)
