"""A limit over a fleet of real workers, one of which is killed: judged by what the handlers themselves wrote down."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess
from tests.system.commands import typed, with_handlers

TTL = 6
IDLE_SECONDS = 5.0  # a machine of two cores that starts workers beside it

HANDLERS = '''
"""Writes down when a job of a customer begins and ends: one line each, in the order of the file."""
import asyncio
import os
import time

from daemon import JobContext, Limit, job


def write(line: str) -> None:
    with open(os.environ["WRITTEN"], "a") as file:
        file.write(f"{line} {time.time()}\\n")


@job("sync_account", limits=[Limit(int(os.environ.get("SIZE", "2")), per="tags.customer")])
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
    settings = with_handlers(HANDLERS, tmp_path, database_url, project, pubsub, worker_ttl_seconds=TTL)
    return settings | {"WRITTEN": str(written)}


def lines_of(written: Path) -> list[str]:
    return written.read_text().splitlines() if written.exists() else []


def most_at_once(lines: list[str], killed: dict[str, int]) -> int:
    """The most jobs of one customer that ran at any line; `killed` says after which line a process had died."""
    running: dict[str, dict[str, str]] = defaultdict(dict)
    most = 0
    for number, line in enumerate(lines):
        word, process, customer, job_id, _ = line.split()
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


def idle_times(lines: list[str], size: int, jobs: int) -> list[tuple[float, float]]:
    """From when to when a customer had fewer jobs running than it might, and jobs that had not begun."""
    begun, running = Counter[str](), defaultdict[str, set[str]](set)
    since: dict[str, float] = {}
    idle = []
    for line in lines:
        word, _, customer, job_id, moment = line.split()
        if word == "begin":
            begun[customer] += job_id not in running[customer]
            running[customer].add(job_id)
        else:
            running[customer].discard(job_id)
        if len(running[customer]) < min(size, jobs - begun[customer] + len(running[customer])):
            since.setdefault(customer, float(moment))
        elif customer in since:
            idle.append((since.pop(customer), float(moment)))
    return idle


@pytest.mark.parametrize(
    ("size", "customers", "jobs", "seconds", "kills"),
    [(2, 5, 12, 0.4, 1), pytest.param(5, 40, 25, 5.0, 2, marks=pytest.mark.long)],
)
async def test_no_customer_has_more_than_its_limit_at_once_though_workers_are_killed_and_every_job_ends(
    environment: dict[str, str],
    tmp_path: Path,
    written: Path,
    size: int,
    customers: int,
    jobs: int,
    seconds: float,
    kills: int,
) -> None:
    environment |= {"SIZE": str(size)}
    killed: dict[str, int] = {}
    deaths = []
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(WorkerProcess(environment, tmp_path)) for _ in range(3)]
        client = await stack.enter_async_context(Client(load(environment)))
        started = [
            await client.kick_off("sync_account", [{"seconds": seconds}] * jobs, tags={"customer": f"c{number}"})
            for number in range(customers)
        ]
        for number in range(kills):
            wanted = (number + 1) * customers * jobs // 3
            await until(lambda wanted=wanted: len(lines_of(written)) >= wanted, within=120, what=f"{wanted} lines")
            workers[number].kill()
            deaths.append(time.time())
            killed[str(workers[number].pid)] = len(lines_of(written))
            if number + 1 < kills:
                workers.append(await stack.enter_async_context(WorkerProcess(environment, tmp_path)))
        for orchestration in started:
            finished = await orchestration.wait(180)
            assert (finished.completed, finished.errored) == (jobs, 0)

    lines = lines_of(written)
    assert most_at_once(lines, killed) == size, "the limit is reached, and never passed"
    ended = {(line.split()[2], line.split()[3]) for line in lines if line.startswith("end")}
    assert Counter(customer for customer, _ in ended) == {f"c{number}": jobs for number in range(customers)}
    for began, over in idle_times(lines, size, jobs):
        of_a_death = any(death - IDLE_SECONDS < began and over < death + TTL + 5 + IDLE_SECONDS for death in deaths)
        assert over - began < IDLE_SECONDS or of_a_death, (began, over, deaths)
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
