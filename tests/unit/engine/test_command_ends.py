"""Programs that are ended: by a timeout, a drain, a lost claim, or with their worker; and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from daemon.command import Command
from daemon.engine.attempt import Attempt
from daemon.job import Interrupted, Kind, Result, Returned, StopReason
from tests.fakes.delivery import JOB
from tests.harness.waiting import eventually
from tests.unit.engine.attempts import Recorded, failure
from tests.unit.engine.commands import (
    a_command_runner,
    gone,
    is_alive,
    no_descriptor_is_left,
    number_in,
    python,
    run_command,
    sh,
)

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


@asynccontextmanager
async def running(
    command: Command, pid_file: Path, attempt: Attempt, **terms: object
) -> AsyncIterator[tuple[int, asyncio.Task[Result]]]:
    """A program under way that has written a process id; nothing of it is left when the body has ended."""
    task = asyncio.create_task(run_command(command, attempt=attempt, **terms))  # type: ignore[arg-type]
    pid = await number_in(pid_file)
    yield pid, task
    await asyncio.wait_for(task, 20)
    await gone(pid)


async def test_a_program_is_ended_at_its_timeout_and_its_last_words_are_kept() -> None:
    script = "trap 'echo saved >&2; exit 0' TERM; echo working >&2; while :; do sleep 0.05; done"
    error = failure(await run_command(sh(script), timeout=2), Kind.TIMED_OUT)
    assert "2 s" in error.message
    assert (error.traceback or "").splitlines()[::2] == ["working", "saved"]  # sh says "Terminated" between them


async def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    attempt, file = Attempt(JOB), tmp_path / "pid"
    script = DEAF + f"import os; print(os.getpid(), file=open({str(file)!r}, 'w'), flush=True); time.sleep(60)"
    async with running(python(script), file, attempt, timeout=1000, runner=a_command_runner(grace=0.1)) as (_, task):
        attempt.cancel(StopReason.TIMED_OUT)
        failure(await task, Kind.TIMED_OUT)


@pytest.mark.parametrize("reason", [StopReason.DRAINING, StopReason.CLAIM_LOST])
async def test_a_stopped_program_is_interrupted_with_all_that_it_has_started(
    tmp_path: Path, reason: StopReason
) -> None:
    attempt, file = Attempt(JOB), tmp_path / "pid"
    async with running(sh(f"sleep 60 & echo $! > {file}; wait"), file, attempt) as (_, task):
        attempt.stop(reason)
        await asyncio.sleep(0)
        assert not task.done(), "it is asked only, and a program hears nothing of that"
        attempt.cancel(reason)
        assert await task == Interrupted(reason)


async def test_a_drain_leaves_less_time_than_a_timeout_even_when_it_comes_second(tmp_path: Path) -> None:
    attempt, file = Attempt(JOB), tmp_path / "pid"
    script = DEAF + f"import os; print(os.getpid(), file=open({str(file)!r}, 'w'), flush=True); time.sleep(60)"
    runner = a_command_runner(grace=1000, drain_grace=0.1)
    async with running(python(script), file, attempt, runner=runner, timeout=1000) as (_, task):
        attempt.cancel(StopReason.TIMED_OUT)
        attempt.cancel(StopReason.DRAINING)
        failure(await task, Kind.TIMED_OUT)


async def test_a_program_is_not_started_for_an_attempt_that_was_stopped_before() -> None:
    attempt = Attempt(JOB)
    attempt.cancel(StopReason.DRAINING)
    assert await run_command(Command(["no-such-program"]), attempt=attempt) == Interrupted(StopReason.DRAINING)


async def test_an_exit_code_0_after_the_stop_does_not_complete_the_job(tmp_path: Path) -> None:
    attempt, file = Attempt(JOB), tmp_path / "pid"
    script = f"trap 'echo \"::result 1\"; exit 0' TERM; echo $$ > {file}; while :; do sleep 0.05; done"
    async with running(sh(script), file, attempt) as (_, task):
        attempt.cancel(StopReason.DRAINING)
        assert await task == Interrupted(StopReason.DRAINING)


async def test_what_a_program_leaves_behind_in_its_group_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = sh(f"sleep 60 & echo $! > {file}; echo '::result 1'")
    async with no_descriptor_is_left(), running(script, file, Attempt(JOB)) as (_, task):
        assert await task == Returned("1")


async def test_a_process_that_left_the_group_does_not_hold_the_job_and_its_words_are_heard(tmp_path: Path) -> None:
    file, recorder = tmp_path / "pid", Recorded()
    script = f"setsid sh -c 'echo $$ > {file}; echo ::note beyond; exec sleep 60' & "
    script += f"while ! [ -s {file} ]; do sleep 0.01; done; echo '::result 1'"
    async with no_descriptor_is_left():
        assert await run_command(sh(script), recorder=recorder) == Returned("1")
    pid = await number_in(file)
    assert is_alive(pid), "a daemon of its own is its own business"
    os.kill(pid, signal.SIGKILL)
    assert recorder.notes == ["beyond"]


async def test_a_process_that_left_the_group_and_never_falls_silent_does_not_hold_the_job(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {file}; exec yes' & while ! [ -s {file} ]; do sleep 0.01; done"
    async with no_descriptor_is_left():
        assert await run_command(sh(script)) == Returned("null")
    await gone(await number_in(file))  # its pipe is closed


async def test_an_attempt_whose_loop_is_closed_leaves_no_program(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    task = asyncio.create_task(run_command(sh(f"echo $$ > {file}; exec sleep 60")))
    pid = await number_in(file)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pid)


def test_a_program_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = DEAF + f"import os; print(os.getpid(), file=open({str(file)!r}, 'w'), flush=True); time.sleep(60)"
    worker = "import asyncio; from tests.unit.engine.commands import python, run_command\n"
    worker += f"asyncio.run(run_command(python({script!r})))"
    process = subprocess.Popen([sys.executable, "-c", worker])
    try:
        pid = int(eventually(lambda: file.exists() and file.read_text().strip()))
        process.kill()
        eventually(lambda: not is_alive(pid))
    finally:
        process.kill()
        process.wait()


def on_a_workers_loop(work: Callable[[], Awaitable[None]]) -> None:
    """Run it on uvloop in a thread, which is where a worker has its loop."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_awaited(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def test_all_of_it_holds_on_the_loop_of_a_worker(tmp_path: Path) -> None:
    async def work() -> None:
        assert await run_command(sh("true")) == Returned("null"), "the first of a loop opens a pipe for signals"
        async with no_descriptor_is_left():
            assert await run_command(sh("cat; echo; echo '::result 1'")) == Returned("1")
            assert "exit code 3: no" in failure(await run_command(sh("echo no >&2; exit 3")), Kind.EXITED).message
            assert "SIGSEGV" in failure(await run_command(sh("kill -SEGV $$")), Kind.EXITED).message
            for missing in ("no-such-program-here", "/etc/passwd"):
                failure(await run_command(Command([missing])), Kind.NOT_STARTED)
            await test_a_stopped_program_is_interrupted_with_all_that_it_has_started(
                tmp_path / "a", StopReason.DRAINING
            )
            await test_a_program_that_ignores_sigterm_is_killed_after_the_grace(tmp_path / "b")
            await test_what_a_program_leaves_behind_in_its_group_ends_with_it(tmp_path / "c")
            await test_a_process_that_left_the_group_and_never_falls_silent_does_not_hold_the_job(tmp_path / "d")
            many = python("print('x' * 30_000_000); print('y\\n' * 100_000); print('::result 2')")
            assert await run_command(many) == Returned("2")
            together = await asyncio.gather(*(run_command(sh(f"echo '::result {n}'")) for n in range(20)))
            assert together == [Returned(str(n)) for n in range(20)]

    for name in "abcd":
        (tmp_path / name).mkdir()
    on_a_workers_loop(work)
