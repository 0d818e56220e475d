"""Running programs as the worker does, and finding what they left behind.

Used by the tests of the command executor. A program is a script of `sh`, or of Python where `sh` can't say it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from daemon.command import Command
from daemon.engine.attempt import Attempt
from daemon.engine.executors.command import CommandExecutor
from daemon.engine.runner import HandlerRunner
from daemon.job import Claim, Result
from tests.fakes.delivery import CLAIM, JOB, a_handler
from tests.harness.waiting import until
from tests.unit.engine.attempts import Recorded

RESULT_LIMIT = 100_000


def a_command_runner(
    recorder: Recorded | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    grace: float = 5.0,
    drain_grace: float = 0.2,
) -> HandlerRunner:
    """A runner of commands on the running loop."""
    kept = recorder or Recorded()
    executor = CommandExecutor(RESULT_LIMIT, kept, environment or os.environ, drain_grace, grace)
    return HandlerRunner(kept, {"command": executor})


async def run_command(
    command: Command | Callable[..., object],
    *,
    claim: Claim = CLAIM,
    recorder: Recorded | None = None,
    runner: HandlerRunner | None = None,
    attempt: Attempt | None = None,
    **terms: object,
) -> Result:
    """What one attempt of a program gives; `terms` are those of `@job`."""

    def returning(params: dict[str, object]) -> object:
        return command

    handler = a_handler(returning if isinstance(command, Command) else command, executor="command", **terms)
    attempt = attempt or Attempt(JOB)
    attempt.claimed(claim)
    running = runner or a_command_runner(recorder)
    async with asyncio.timeout(20):
        return await running.run(claim, handler, attempt)


def sh(script: str) -> Command:
    """A shell script."""
    return Command(["sh", "-c", script])


def python(script: str) -> Command:
    """A Python program."""
    return Command([sys.executable, "-I", "-S", "-c", script])


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie that waits for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended while its file was open
        return False


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    await until(lambda: not is_alive(pid), what=f"process {pid} has ended")


async def number_in(file: Path) -> int:
    """Wait for a number that a program writes to a file, with a newline."""
    text = await until(lambda: file.exists() and file.read_text(), what=f"{file} is written")
    return int(text)


@asynccontextmanager
async def no_descriptor_is_left() -> AsyncIterator[None]:
    """Wait in the end until no more files are open than in the beginning; a transport closes them a turn later."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
