"""Child processes that die, hang or run out of memory: the cause is named, the next job runs, nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import psutil
import pytest

from daemon.engine.attempt import Attempt
from daemon.job import Claim, Failed, Interrupted, Kind, Progress, Returned, StopReason
from tests.fakes.delivery import JOB
from tests.harness.waiting import until
from tests.unit.engine.attempts import Recorded, failure
from tests.unit.engine.process_pools import Processes, processes


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def runs_on(made: Processes) -> None:
    """The next job runs, in a second process; the first one is gone."""
    result = await made.run("add", {"a": 1})
    assert isinstance(result, Returned)
    dead, alive = made.started
    assert json.loads(result.result)["pid"] == alive.pid
    await dead.exited.wait()
    assert not psutil.pid_exists(dead.pid)


@pytest.mark.parametrize(
    ("name", "params", "cause"),
    [
        ("leave", {"code": 3}, "exit code 3"),
        ("leave", {"code": 0}, "exit code 0"),
        ("segfault", {}, "killed by SIGSEGV"),
        ("kill", {}, "killed by SIGKILL, which the worker did not send: perhaps the kernel, for memory"),
    ],
)
async def test_a_process_that_dies_fails_its_attempt_by_name(name: str, params: dict[str, int], cause: str) -> None:
    async with processes() as made:
        error = failure(await made.run(name, params), Kind.PROCESS_DIED)
        assert error.message == f"the handler's process ended: {cause}"
        await runs_on(made)


@pytest.mark.parametrize("name", ["close_pipe", "hang_up"])
async def test_a_process_that_closes_its_pipe_fails_its_attempt_by_name(name: str) -> None:
    async with processes() as made:
        error = failure(await made.run(name), Kind.PROCESS_DIED)
        assert error.message == "the handler's process ended: it closed its pipe to the worker"
        await runs_on(made)


async def test_a_child_whose_words_can_not_be_taken_is_killed_and_its_attempt_fails() -> None:
    class Broken(Recorded):
        def progress(self, claim: Claim, progress: Progress) -> None:
            raise ValueError("a fault of the worker")

    async with processes() as made:
        error = failure(await made.run("report", recorder=Broken()), Kind.PROCESS_DIED)
        assert error.message == "the handler's process ended: what it sent could not be taken (ValueError)"
        await runs_on(made)


async def test_code_that_holds_the_interpreter_is_killed_after_its_timeout() -> None:
    async with processes() as made:
        began = time.monotonic()
        error = failure(await made.run("regex"), Kind.TIMED_OUT)
        assert time.monotonic() - began < 10
        assert "0.2 s" in error.message
        await runs_on(made)


async def test_a_handler_beyond_its_memory_is_told_so_and_its_process_replaced() -> None:
    async with processes() as made:
        assert await made.run("hoard", {"mib": 100}) == Returned(str(100 * 1024 * 1024))
        error = failure(await made.run("hoard", {"mib": 400}), Kind.OUT_OF_MEMORY)
        assert error.message == "the handler ran out of memory: it needed more than its memory of 300 MiB"
        assert error.traceback is not None
        assert "in hoard" in error.traceback
        await runs_on(made)


@pytest.mark.parametrize("reason", [StopReason.DRAINING, StopReason.CLAIM_LOST])
async def test_a_process_that_ignores_every_request_is_dead_when_its_attempt_is_interrupted(
    reason: StopReason, tmp_path: Path
) -> None:
    async with processes() as made:
        attempt, begun = Attempt(JOB), tmp_path / "begun"
        running = asyncio.create_task(made.run("deaf", {"begun": str(begun)}, running=attempt))
        await until(begun.exists)
        pid = made.started[-1].pid
        attempt.cancel(reason)
        assert await running == Interrupted(reason), "and it runs for no second more"
        assert not psutil.pid_exists(pid)


async def test_what_a_handler_has_started_ends_with_its_process(tmp_path: Path) -> None:
    async with processes() as made:
        file = tmp_path / "pid"
        failure(await made.run("beget_and_die", {"file": str(file)}), Kind.PROCESS_DIED)
        await until(lambda: not is_alive(int(file.read_text())), what="its child is gone too")


async def test_what_a_handler_leaves_behind_ends_after_its_job() -> None:
    async with processes() as made:
        result = await made.run("beget")
        assert isinstance(result, Returned), "the job itself is done"
        await until(lambda: not is_alive(int(result.result)), what="the process that was left behind is gone")
        await runs_on(made)


async def test_other_jobs_are_not_touched_by_a_death(tmp_path: Path) -> None:
    async with processes(2) as made:
        begun, attempt = tmp_path / "begun", Attempt(JOB)
        other = asyncio.create_task(made.run("wait", {"begun": str(begun)}, running=attempt))
        await until(begun.exists)
        for name in ("kill", "segfault", "leave"):
            assert isinstance(await made.run(name, {"code": 1}), Failed)
        attempt.stop(StopReason.DRAINING)
        assert await other == Interrupted(StopReason.DRAINING)


async def test_an_idle_process_that_is_killed_is_replaced() -> None:
    async with processes() as made:
        assert isinstance(await made.run("add", {"a": 1}), Returned)
        os.kill(made.started[0].pid, 9)
        await made.started[0].exited.wait()
        await runs_on(made)
