"""A job of many steps, every second of them in a transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon import JobContext, job

PACE = 0.04  # slow beside the pauses in which a test looks how far it is


class Journey(BaseModel):
    """`log` gets a line for each call of a step: its name and the attempt."""

    steps: int
    log: Path


@job("journey", max_attempts=1)
async def journey(params: Journey, ctx: JobContext) -> int:
    """Writes a line for each call, and a row for each step in a transaction."""

    def note(name: str) -> None:
        with params.log.open("a") as log:
            log.write(f"{name} {ctx.attempt}\n")

    async def walk(name: str) -> str:
        note(name)
        await asyncio.sleep(PACE)
        return name

    async def pay(connection: AsyncConnection, name: str) -> str:
        note(name)
        await asyncio.sleep(PACE)
        await connection.execute(text("INSERT INTO payment VALUES (:name)"), {"name": name})
        return name

    for number in range(params.steps):
        name = f"step-{number}"
        assert name == await (ctx.step(name, pay, name, tx=True) if number % 2 else ctx.step(name, walk, name))
    return ctx.attempt


class Order(BaseModel):
    """How many seconds it rests before it asks for approval."""

    rest: float


@job("approve", max_attempts=1)
async def approve(params: Order, ctx: JobContext) -> dict[str, object]:
    """Rests, then waits for somebody."""
    began = await ctx.step("begin", lambda: ctx.attempt)
    await ctx.sleep(params.rest)
    answer = await ctx.wait_for("approved")
    return {"began": began, "ended": ctx.attempt, "by": answer["by"]}


@job("doze")
async def doze(params: Order, ctx: JobContext) -> None:
    """Rests."""
    await ctx.sleep(params.rest)
