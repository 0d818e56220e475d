"""Existing programs, each a process group of its own: `executor="command"`.

The handler says what to start, and is called on the event loop. What the program then says and how it ends becomes the
job's progress, notes, log and result; docs/commands.md describes it to authors.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from daemon.command import Command
from daemon.context import JobContext
from daemon.engine.attempt import Attempt
from daemon.engine.executors.command_output import CommandOutput
from daemon.engine.executors.process_group import end_with_worker
from daemon.engine.executors.program import Program
from daemon.engine.executors.results import failure_of, stopped
from daemon.errors import Stopped, TooManyNotes
from daemon.job import Claim, Failed, JobError, Kind, Result, StopReason
from daemon.recorder import Recorder
from daemon.registry import Handler
from daemon.rules.exit_status import exit_status
from daemon.rules.storable import storable_text

GRACE_SECONDS = 5.0
LINES_A_TURN = 100
VARIABLE_LIMIT = 128 * 1024
"""MAX_ARG_STRLEN of Linux, for `NAME=value` and the NUL after it: execve(2) refuses a longer one."""

TRANSIENT = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
PRIVATE_VARIABLES = ("HEADCOUNT_", "DATABASE_URL", "JOB_PARAMS")


class CommandExecutor:
    """Starts programs in `environment`, less what is Headcount's own, and gives them `grace` seconds after SIGTERM."""

    def __init__(
        self,
        result_limit: int,
        recorder: Recorder,
        environment: Mapping[str, str],
        drain_grace: float,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._result_limit = result_limit
        self._recorder = recorder
        self._environment = {name: text for name, text in environment.items() if not name.startswith(PRIVATE_VARIABLES)}
        self._drain_grace = drain_grace
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._in_child = end_with_worker()

    async def call(self, handler: Handler, arguments: Sequence[object], attempt: Attempt) -> Result:
        """See Executor."""
        claim = attempt.claim
        assert claim is not None, "only what is claimed is run"
        if attempt.signal.reason is not None:
            return stopped(handler, attempt)
        try:
            command = handler.function(*arguments)
            if not isinstance(command, Command):
                raise TypeError(f"the handler returned {type(command).__name__}, not a Command")
        except BaseException as error:  # nothing was awaited: whatever it is, the handler raised it
            return failure_of(error, handler, attempt)
        program = Program(claim.params.encode(), self._result_limit)
        attempt.on_cancel(lambda reason: program.stop(self._grace_of(reason)))
        timeout = handler.timeout
        timer = None if timeout is None else self._loop.call_later(timeout, attempt.cancel, StopReason.TIMED_OUT)
        try:
            failure = await self._start(program, command, claim)
            return failure or await self._run(program, command, handler, attempt)
        finally:
            attempt.on_cancel(None)
            if timer is not None:
                timer.cancel()
            program.close()

    async def _start(self, program: Program, command: Command, claim: Claim) -> Failed | None:
        variables = self._variables(command, claim)
        try:
            await self._loop.subprocess_exec(
                lambda: program,
                *command.argv,
                env=variables,
                cwd=command.cwd,
                start_new_session=True,
                preexec_fn=self._in_child,
            )
        except OSError as error:
            text = f"{command.argv[0]} can't be started: {_why_not_started(error, command, variables)}"
            failure = JobError(Kind.NOT_STARTED, storable_text(text))
            return Failed(failure, final=error.errno not in TRANSIENT)
        return None

    async def _run(self, program: Program, command: Command, handler: Handler, attempt: Attempt) -> Result:
        assert attempt.claim is not None
        context = JobContext(attempt.claim, self._recorder, attempt.signal, self._loop, self._loop_thread)
        output = CommandOutput(context, self._result_limit, self._loop.time)
        error: Stopped | TooManyNotes | None = None
        while lines := await program.read():
            if error is None and (error := await _take(lines, output)) is not None:
                program.stop(self._grace_of(attempt.signal.reason))
        output.close()
        if error is not None:
            return failure_of(error, handler, attempt)
        if program.was_stopped:
            return _with_tail(stopped(handler, attempt), output.tail)
        return output.result() if program.code == 0 else _exited(program.code, command, output)

    def _variables(self, command: Command, claim: Claim) -> dict[str, str]:
        own = {
            "JOB_NAME": claim.job_name,
            "ORCHESTRATION_ID": str(claim.orchestration_id),
            "JOB_ID": str(claim.job_id),
            "CLOUD_RUN_TASK_INDEX": str(claim.index),
            "CLOUD_RUN_TASK_COUNT": str(claim.count),
            "CLOUD_RUN_TASK_ATTEMPT": str(claim.failures),
        }
        if len(f"JOB_PARAMS={claim.params}\0".encode()) <= VARIABLE_LIMIT:
            own["JOB_PARAMS"] = claim.params
        return {**self._environment, **own, **command.env}

    def _grace_of(self, reason: StopReason | None) -> float:
        return min(self._drain_grace, self._grace) if reason is StopReason.DRAINING else self._grace


async def _take(lines: Sequence[tuple[int, bytes]], output: CommandOutput) -> Stopped | TooManyNotes | None:
    """Take the lines, or as many as can be taken: why not all."""
    for number, (stream, line) in enumerate(lines, 1):
        try:
            await output.take(stream, line)
        except (Stopped, TooManyNotes) as error:
            return error
        if number % LINES_A_TURN == 0:
            await asyncio.sleep(0)  # other jobs' turn
    return None


def _why_not_started(error: OSError, command: Command, variables: Mapping[str, str]) -> str:
    program, path = command.argv[0], variables.get("PATH", os.defpath)
    if error.errno == errno.ENOENT:
        if command.cwd is not None and not os.path.isdir(command.cwd):
            return f"its folder {os.fspath(command.cwd)!r} does not exist"
        if "/" not in program and shutil.which(program, path=path) is None:
            return f"there is no such program on PATH ({path})"
    if error.errno == errno.E2BIG:
        return "its arguments and variables are larger than the system allows; params can be read from standard input"
    return error.strerror or type(error).__name__


def _exited(code: int | None, command: Command, output: CommandOutput) -> Failed:
    assert code is not None, "the program has ended"
    said = f": {output.last_line}" if output.last_line else ""
    is_final = code in command.give_up_on
    why = " (not retried: the code is in give_up_on)" if is_final else ""
    text = f"{os.path.basename(command.argv[0])}: {exit_status(code)}{said}{why}"
    return Failed(JobError(Kind.EXITED, storable_text(text), output.tail), final=is_final)


def _with_tail(result: Result, tail: str | None) -> Result:
    return replace(result, error=replace(result.error, traceback=tail)) if isinstance(result, Failed) else result
