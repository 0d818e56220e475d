"""`run_handler` runs every kind of handler that a worker does, with what its lifespans would yield."""

from __future__ import annotations

import os

import pytest

from daemon import Command, JobContext, job
from daemon.testing import HandlerFailed, HandlerSuspended, Recording, run_handler


class Pool:
    def __init__(self, name: str) -> None:
        self.name = name


@job("a")
async def on_the_loop(params: dict[str, str], pool: Pool) -> str:
    return pool.name


@job("b", executor="process")
def in_a_process(params: dict[str, str], ctx: JobContext, pool: Pool) -> list[object]:
    ctx.note("noted")
    return [os.getpid(), pool.name]


async def test_resources_stand_for_what_lifespans_yield() -> None:
    assert await run_handler(on_the_loop, {}, resources=[Pool("fake")]) == "fake"


async def test_a_process_handler_runs_where_the_debugger_is() -> None:
    said = Recording()
    assert await run_handler(in_a_process, {}, resources=[Pool("fake")], recording=said) == [os.getpid(), "fake"]
    assert said.notes == ["noted"]


@job("c")
async def in_steps(params: dict[str, str], ctx: JobContext) -> list[object]:
    begun = await ctx.step("begin", lambda: ctx.attempt)
    await ctx.sleep(3600)
    return [begun, await ctx.wait_for("approved")]


async def test_a_handler_goes_on_from_its_recorded_steps_after_a_sleep_and_a_signal() -> None:
    said = Recording()
    with pytest.raises(HandlerSuspended, match="3600 s"):
        await run_handler(in_steps, {}, recording=said)
    with pytest.raises(HandlerSuspended, match="'approved'"):
        await run_handler(in_steps, {}, recording=said, attempt=2)
    said.signals["approved"] = [{"by": "eve"}]
    assert await run_handler(in_steps, {}, recording=said, attempt=3) == [1, {"by": "eve"}]


@job("d", executor="command")
def in_a_program(params: dict[str, str], ctx: JobContext) -> Command:
    ctx.step("begin", int)
    return Command(["true"])


async def test_steps_are_refused_where_nothing_replays_them() -> None:
    with pytest.raises(HandlerFailed, match="executor='async' or 'thread'"):
        await run_handler(in_a_program, {})
