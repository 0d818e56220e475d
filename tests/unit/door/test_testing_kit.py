"""`run_handler` runs every kind of handler that a worker does, with what its lifespans would yield."""

from __future__ import annotations

import os

from daemon import JobContext, job
from daemon.testing import Recording, run_handler


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
