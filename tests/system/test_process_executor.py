"""`process` handlers in a real worker: what they say and how they die is stored, and nothing of them outlives it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import psycopg
import pytest

from daemon.client import Client
from daemon.pubsub.resources import desired, provision
from daemon.settings import load
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment

HANDLERS = '''
"""Handlers that run in child processes, and one that does not."""
import ctypes
import os
import re
import subprocess
import time
from pathlib import Path

from daemon import JobContext, job


@job("segfault", executor="process", max_attempts=1)
def segfault(params: dict) -> None:
    ctypes.string_at(0)


@job("leave", executor="process", max_attempts=1)
def leave(params: dict) -> None:
    os._exit(3)


@job("hoard", executor="process", max_attempts=1, memory_mib=200)
def hoard(params: dict) -> int:
    return len(bytearray(2**30))


@job("regex", executor="process", max_attempts=1, timeout=0.5)
def regex(params: dict) -> None:
    re.match("(a+)+$", "a" * 40 + "b")


@job("describe", executor="process")
def describe(params: dict, ctx: JobContext) -> str:
    print("printed by", ctx.index)
    ctx.log.info("logged", cups=3)
    ctx.note("a note")
    ctx.progress(1, 1, "all of it")
    return "described"


@job("burn", executor="process")
def burn(params: dict, ctx: JobContext) -> float:
    """Seconds of CPU."""
    began = time.process_time()
    while time.process_time() - began < params["seconds"]:
        sum(range(1000))
    return time.process_time() - began


@job("burn_here")
def burn_here(params: dict) -> None:
    began = time.process_time()
    while time.process_time() - began < params["seconds"]:
        sum(range(1000))


@job("sleep", executor="process")
def sleep(params: dict, ctx: JobContext) -> int:
    with Path(params["diary"]).open("a") as diary:
        print(ctx.attempt, os.getpid(), file=diary)
    if ctx.attempt == 1:
        subprocess.Popen(["sleep", "600"])
        Path(params["diary"] + ".begun").touch()
        re.match("(a+)+$", "a" * 40 + "b")
    return ctx.attempt


@job("echo")
async def echo(params: dict) -> dict:
    return params
'''


@pytest.fixture
async def environment(database_url: str, project: str, pubsub: str, tmp_path: Path) -> dict[str, str]:
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text(HANDLERS)
    made = worker_environment(
        database_url, project, pubsub, handlers_path=tmp_path, process_slots=2, drain_seconds=1, worker_ttl_seconds=6
    )
    await provision(desired(load(made)))
    return made


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[Client]:
    async with Client(load(environment)) as opened:
        yield opened


def children(worker: WorkerProcess) -> list[psutil.Process]:
    return psutil.Process(worker.pid).children(recursive=True)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; one that nobody has waited for yet has."""
    return [one for one in processes if _is_alive(one)]


def causes(database_url: str) -> dict[str, str]:
    """The error of each job by its name."""
    with psycopg.connect(database_url) as connection:
        return dict(
            connection.execute("SELECT job_name, error->>'message' FROM job WHERE error IS NOT NULL").fetchall()
        )


async def test_every_death_is_named_and_other_jobs_go_on(
    environment: dict[str, str], client: Client, database_url: str, tmp_path: Path
) -> None:
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker:
        fatal = [await client.kick_off(name, [{}]) for name in ("segfault", "leave", "hoard", "regex")]
        other = [await client.kick_off(name, [{"n": n} for n in range(20)]) for name in ("echo", "describe")]
        for started in (*fatal, *other):
            await started.wait(timeout=60)
        assert [(await started.wait()).completed for started in other] == [20, 20]
        told = causes(database_url)
        assert told["segfault"] == "the handler's process ended: killed by SIGSEGV"
        assert told["leave"] == "the handler's process ended: exit code 3"
        assert told["hoard"].startswith("the handler ran out of memory: it needed more than its memory of 200 MiB")
        assert told["regex"] == "the attempt took longer than its timeout of 0.5 s"
        printed = [line for line in worker.log_records() if line["message"] == "printed by 7"]
        assert [line["logging.googleapis.com/labels"]["job_name"] for line in printed] == ["describe"]
        assert [line["stream"] for line in printed] == ["stdout"]
        assert sum(line["message"] == "logged" and line["cups"] == "3" for line in worker.log_records()) == 20
        left = children(worker)
        worker.terminate()
        await worker.until_exit()
    assert not alive(left)


async def test_handlers_that_compute_leave_the_heartbeat_alone_in_processes_and_are_named_in_threads(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker:
        started = await client.kick_off("burn", [{"seconds": 4}] * 2)
        assert (await started.wait(timeout=90)).completed == 2
        metrics = worker.body_of("/metrics")
        for name in ("headcount_heartbeat_lag_seconds", "headcount_event_loop_lag_seconds"):
            lags = re.findall(rf'^{name}_bucket{{.*le="(.+?)".*}} (.+)$', metrics, re.M)
            assert dict(lags)["1.0"] == dict(lags)["+Inf"] != "0.0", lags
        assert "the event loop was blocked" not in worker.log
        assert "a handler computed in a thread" not in worker.log
        await (await client.kick_off("burn_here", [{"seconds": 2}])).wait(timeout=90)
        await worker.until_logged("a handler computed in a thread")
        warned = [line for line in worker.log_records() if line["message"].startswith("a handler computed")]
        assert [line["logging.googleapis.com/labels"]["job_name"] for line in warned] == ["burn_here"]


async def test_when_the_worker_is_killed_its_processes_die_and_its_job_runs_elsewhere(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker:
        started = await client.kick_off("sleep", [{"diary": str(diary)}])
        await until(Path(f"{diary}.begun").exists)
        left = children(worker)
        assert int(diary.read_text().split()[1]) in {process.pid for process in left}
        assert "sleep" in {process.name() for process in left}, "what a child has started"
        worker.kill()
        await until(lambda: not alive(left), within=5)
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        assert (await started.wait(timeout=90)).completed == 1
    assert [line.split()[0] for line in diary.read_text().splitlines()] == ["1", "2"]


async def test_a_drain_ends_a_process_that_goes_on_and_its_job_is_interrupted(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path) as worker:
        started = await client.kick_off("sleep", [{"diary": str(diary)}])
        await until(Path(f"{diary}.begun").exists)
        left, began = children(worker), time.monotonic()
        worker.terminate()
        await worker.until_exit()
        assert time.monotonic() - began < 6
        assert not alive(left)
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        assert (await started.wait(timeout=30)).completed == 1


async def test_a_process_killed_from_outside_costs_only_its_own_job(
    environment: dict[str, str], client: Client, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    async with WorkerProcess(environment, tmp_path, handlers_in=tmp_path):
        started = await client.kick_off("sleep", [{"diary": str(diary)}])
        await until(Path(f"{diary}.begun").exists)
        os.kill(int(diary.read_text().split()[1]), signal.SIGKILL)
        assert (await started.wait(timeout=60)).completed == 1
    assert [line.split()[0] for line in diary.read_text().splitlines()] == ["1", "2"]
