"""An orchestration with a parallelism beside an urgent job, and a job name that is paused: with real workers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from daemon.client import Client
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess
from tests.system.commands import asked, typed, with_handlers

HANDLERS = '''
"""Write down when a job begins (+) and ends (-), in the order of the file."""
import asyncio
import os

from daemon import JobContext, job


def write(mark: str) -> None:
    with open(os.environ["WRITTEN"], "a") as file:
        file.write(mark)


@job("convert")
async def convert(params: dict, ctx: JobContext) -> None:
    write("+")
    await asyncio.sleep(params["seconds"])
    write("-")


@job("urgent")
async def urgent(params: dict, ctx: JobContext) -> None:
    pass
'''


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, tmp_path: Path) -> dict[str, str]:
    settings = with_handlers(HANDLERS, tmp_path, database_url, project, pubsub, slots=10)
    return settings | {"WRITTEN": str(tmp_path / "written")}


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(environment)) as made:
        yield made


def most_at_once(marks: str) -> int:
    running = most = 0
    for mark in marks:
        running += 1 if mark == "+" else -1
        most = max(most, running)
    return most


@pytest.mark.parametrize(
    ("total", "parallelism", "seconds"), [(100, 4, 0.05), pytest.param(10_000, 20, 0.05, marks=pytest.mark.long)]
)
async def test_an_urgent_job_starts_within_a_second_beside_a_large_orchestration_with_a_parallelism(
    environment: dict[str, str], client: Client, tmp_path: Path, total: int, parallelism: int, seconds: float
) -> None:
    written = tmp_path / "written"
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(WorkerProcess(environment, tmp_path))
        large = await client.kick_off("convert", [{"seconds": seconds}] * total, parallelism=parallelism)
        await until(lambda: written.exists() and written.read_text().count("-") > parallelism, what="it is under way")
        assert (await large.progress()).completed_at is None
        began = time.monotonic()
        await (await client.kick_off("urgent", [{}])).wait(10)
        took = time.monotonic() - began
        finished = await large.wait(60 + total * 0.05)

    assert took < 1.0
    assert (finished.completed, finished.errored) == (total, 0)
    assert most_at_once(written.read_text()) == parallelism, "the parallelism is reached, and never passed"
    with psycopg.connect(environment["HEADCOUNT_DATABASE_URL"]) as connection:
        counted = connection.execute("SELECT sum(publishes) FROM job WHERE job_name = 'convert'").fetchone()
    assert counted is not None
    assert counted[0] <= 1.02 * total, "no job is delivered before its turn"
    typed("verify", environment=environment)


async def test_a_paused_job_is_held_back_explained_and_resumed(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    async with WorkerProcess(environment, tmp_path):
        typed("pause", "convert", environment=environment)
        held = await client.kick_off("convert", [{"seconds": 0}] * 3)
        await (await client.kick_off("urgent", [{}])).wait(10)

        async def all_wait() -> bool:
            (paused,) = await client.paused()
            return paused.waiting == 3

        await until(all_wait, what="three jobs are held back")
        shown = typed("explain", str(held.id), environment=environment).stdout
        assert "PAUSED: 3" in shown
        assert "headcount resume convert" in shown
        assert not written.exists()

        assert asked("resume", "convert", "--json", environment=environment) == {"resumed": "convert", "woken": 3}
        assert (await held.wait(10)).completed == 3
    assert [one.attempt for one in await client.outcomes(held.id)] == [1, 1, 1]
