"""Child processes are replaced after their share of jobs or memory: warm, without a gap, and without a leak."""

from __future__ import annotations

import asyncio
import json
import os

import psutil
import pytest

from daemon.job import Returned
from tests.harness.waiting import until
from tests.unit.engine.process_pools import Processes, processes

MIB = 1024 * 1024


async def pid_of(made: Processes) -> int:
    result = await made.run("add", {"a": 1})
    assert isinstance(result, Returned)
    pid: int = json.loads(result.result)["pid"]
    return pid


async def test_a_process_is_replaced_after_its_share_of_jobs_once_its_successor_is_ready() -> None:
    async with processes(jobs=2) as made:
        first = [await pid_of(made) for _ in range(2)]
        assert set(first) == {made.started[0].pid}
        assert await pid_of(made) == first[0], "it goes on while its successor starts"
        await made.started[0].exited.wait()
        assert made.started[1].ready.is_set()
        assert await pid_of(made) == made.started[1].pid
        assert made.started[0].code == 0, "it ended by itself"


async def test_a_process_is_replaced_when_it_takes_too_much_memory() -> None:
    async with processes(memory=MIB) as made:
        assert await pid_of(made) == made.started[0].pid
        await made.started[0].exited.wait()
        assert await pid_of(made) == made.started[1].pid


async def test_a_process_within_its_limits_is_kept() -> None:
    async with processes(jobs=10, memory=2000 * MIB) as made:
        assert {await pid_of(made) for _ in range(5)} == {made.started[0].pid}


async def recycled(times: int) -> None:
    """Replace so many processes, two at a time, and compare the descriptors and the processes before and after."""
    async with processes(2, jobs=1) as made:
        await until(lambda: sum(child.ready.is_set() for child in made.started) == 2)
        before = len(os.listdir("/proc/self/fd"))
        while len(made.started) < times:
            await asyncio.gather(pid_of(made), pid_of(made))
        await until(lambda: sum(not child.exited.is_set() for child in made.started) == 2, within=30)
        # Fewer: those of an earlier test that are closed only now.
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before, what=f"there are {before} descriptors again")
        alive = {process.pid for process in psutil.Process().children(recursive=True)}
        assert not alive & {child.pid for child in made.started if child.exited.is_set()}


async def test_recycling_leaks_no_descriptor_and_no_process() -> None:
    await recycled(12)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_thousand_recycles_leak_no_descriptor_and_no_process() -> None:
    await recycled(1000)
