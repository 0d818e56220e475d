"""A limit over a fleet of real workers, one of which is killed: judged by what the handlers themselves wrote down."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed

SIZE, CUSTOMERS, JOBS = 2, 5, 12

HANDLERS = '''
"""Writes down when a job of a customer begins and ends: one line each, in the order of the file."""
import asyncio
import os

from daemon import JobContext, Limit, job


def write(line: str) -> None:
    with open(os.environ["WRITTEN"], "a") as file:
        file.write(line + "\\n")


@job("sync_account", limits=[Limit(2, per="tags.customer")])
async def sync_account(params: dict, ctx: JobContext) -> None:
    who = f"{os.getpid()} {ctx.tags['customer']} {ctx.job_id}"
    write(f"begin {who}")
    await asyncio.sleep(params["seconds"])
    write(f"end {who}")
'''


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "written"


@pytest.fixture
def environment(database_url: str, project: str, pubsub: str, tmp_path: Path, written: Path) -> dict[str, str]:
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sync_account.py").write_text(HANDLERS)
    settings = worker_environment(database_url, project, pubsub, handlers_path=tmp_path, worker_ttl_seconds=6)
    typed("provision", environment=settings)
    return settings | {"WRITTEN": str(written)}


def lines_of(written: Path) -> list[str]:
    return written.read_text().splitlines() if written.exists() else []


def most_at_once(lines: list[str], killed: dict[str, int]) -> int:
    """The most jobs of one customer that ran at any line; `killed` says after which line a process had died."""
    running: dict[str, dict[str, str]] = defaultdict(dict)
    most = 0
    for number, line in enumerate(lines):
        word, process, customer, job_id = line.split()
        for dead in [process for process, after in killed.items() if after <= number]:
            for jobs in running.values():
                for job in [job for job, owner in jobs.items() if owner == dead]:
                    del jobs[job]
        if word == "begin":
            running[customer][job_id] = process
            most = max(most, len(running[customer]))
        else:
            running[customer].pop(job_id, None)
    return most


async def test_no_customer_has_more_than_two_at_once_though_a_worker_is_killed_and_every_job_ends(
    environment: dict[str, str], tmp_path: Path, written: Path
) -> None:
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(WorkerProcess(environment, tmp_path)) for _ in range(3)]
        client = await stack.enter_async_context(Client(load(environment)))
        started = [
            await client.kick_off("sync_account", [{"seconds": 0.4}] * JOBS, tags={"customer": f"c{number}"})
            for number in range(CUSTOMERS)
        ]
        await until(lambda: len(lines_of(written)) >= 30, what="30 lines")
        workers[0].kill()
        killed = {str(workers[0].pid): len(lines_of(written))}
        for orchestration in started:
            finished = await orchestration.wait(90)
            assert (finished.completed, finished.errored) == (JOBS, 0)

    lines = lines_of(written)
    assert most_at_once(lines, killed) == SIZE, "the limit is reached, and never passed"
    assert Counter(line.split()[2] for line in lines if line.startswith("end")) == {
        f"c{number}": JOBS for number in range(CUSTOMERS)
    }
    typed("verify", environment=environment)


async def test_explain_names_the_limit_its_holders_and_the_place_in_line(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with WorkerProcess(environment, tmp_path), Client(load(environment)) as client:
        started = await client.kick_off("sync_account", [{"seconds": 60}] * 4, tags={"customer": "c1"})

        async def waiting() -> str:
            shown = typed("explain", str(started.id), environment=environment).stdout
            return shown if "WAITING_LIMIT: 2" in shown else ""

        shown = await until(waiting, what="two jobs wait for the limit")

    assert "in line for the limit 'sync_account per tags.customer'" in shown
    assert "2 of 2 permits of 'c1' are taken, by " in shown
