"""What a child process does: run one handler after the other, in its main thread.

Called by the child's entry point in `service/`. A thread reads the pipe, and another has the event loop on which
`ctx.save` waits for the worker's answer. When the worker is gone, the process group is killed.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from queue import SimpleQueue

from pydantic import ValidationError

from daemon.context import JobContext
from daemon.engine.attempt import Attempt
from daemon.engine.executors.process.messages import (
    EXIT_PIPE_CLOSED,
    LENGTH,
    Answer,
    Ended,
    FromChild,
    Log,
    Ready,
    Room,
    Run,
    Start,
    Stop,
    ToChild,
    frame_from_child,
    to_child,
)
from daemon.engine.executors.process.pipe_recorder import PipeRecorder
from daemon.engine.executors.results import failure_of, returned
from daemon.engine.resources import Resources
from daemon.job import Failed, Interrupted, JobError, Kind, Result, Returned
from daemon.observe import LogLine
from daemon.registry import Handler, Registry

MIB = 1024 * 1024
LIMITED = resource.RLIMIT_DATA if sys.platform.startswith("linux") else resource.RLIMIT_AS


class Pipe:
    """The child's end: `send` from any thread, `receive` from one. A full pipe lets `send` wait for the worker."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: FromChild) -> None:
        frame = frame_from_child(message)
        with self._lock:
            self._connection.sendall(frame)

    def log(self, line: LogLine) -> None:
        self.send(Log(line))

    def receive(self) -> ToChild | None:
        """The next message; None when the worker has closed the pipe, or is gone."""
        try:
            header = self._stream.read(LENGTH.size)
            return to_child(self._stream.read(LENGTH.unpack(header)[0])) if len(header) == LENGTH.size else None
        except (OSError, ValueError):
            return None


class Child:
    """Runs what the worker sends until the pipe is closed."""

    def __init__(self, pipe: Pipe, start: Start, registry: Registry) -> None:
        self._pipe = pipe
        self._result_limit = start.result_limit
        self._registry = registry
        self._worker = os.getppid()
        self._resources = Resources((one for one in registry if one.executor == "process"), registry.lifespans)
        self._opened: Future[None] = Future()
        self._closing = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self._loop.run_forever, name="headcount-loop", daemon=True)
        self._runs: SimpleQueue[tuple[Run, Attempt, PipeRecorder] | None] = SimpleQueue()
        self._current: tuple[Run, Attempt, PipeRecorder] | None = None

    def run(self) -> None:
        """Run handlers, one at a time; returns when the worker needs no more of this child."""
        self._loop_thread.start()
        threading.Thread(target=self._read, name="headcount-pipe", daemon=True).start()
        lifespans = asyncio.run_coroutine_threadsafe(self._keep_open(), self._loop)
        wait({self._opened, lifespans}, return_when=FIRST_COMPLETED)
        if lifespans.done():
            lifespans.result()
        self._pipe.send(Ready())
        while (work := self._runs.get()) is not None:
            run, attempt, recorder = work
            result, out_of_memory = self._call(run, attempt, recorder)
            recorder.flush()
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # the handler may have closed it
                    stream.flush()
            self._current = None
            try:
                self._pipe.send(Ended(run.number, result, memory_used(), out_of_memory or has_children()))
            except OSError:
                os._exit(EXIT_PIPE_CLOSED)
        self._loop.call_soon_threadsafe(self._closing.set)
        lifespans.result()

    async def _keep_open(self) -> None:
        """Make what the handlers share and close it at the end, in one task."""
        async with self._resources.opened():
            self._opened.set_result(None)
            await self._closing.wait()

    def _call(self, run: Run, attempt: Attempt, recorder: PipeRecorder) -> tuple[Returned | Failed | Interrupted, bool]:
        handler = self._registry.find(run.claim.job_name)
        if handler is None:
            text = "the process has imported no handler of this name: the handlers package was changed meanwhile"
            return Failed(JobError(Kind.PROCESS_DIED, text)), True
        handler = replace(handler, timeout=run.timeout)
        try:
            params = handler.params.validate_json(run.claim.params)
        except ValidationError:  # its text tells values; the worker has validated the same params before
            return Failed(JobError(Kind.INVALID_PARAMS, "the params are valid in the worker only"), final=True), False
        arguments: tuple[object, ...] = (params,)
        if handler.wants_context:
            thread = self._loop_thread.ident or 0
            arguments = (params, JobContext(run.claim, recorder, attempt.signal, self._loop, thread))
        arguments += self._resources.of(handler)
        try:
            with _memory_limit(run.memory):
                return _known(returned(handler.function(*arguments), self._result_limit, handler.result)), False
        except MemoryError as error:
            return _out_of_memory(error, handler, attempt, run.memory), True
        except BaseException as error:
            return _known(failure_of(error, handler, attempt)), False

    def _read(self) -> None:
        while (message := self._pipe.receive()) is not None:
            match message:
                case Run():
                    recorder = PipeRecorder(self._pipe.send, message.number, self._loop)
                    self._current = (message, Attempt(message.claim.job_id, message.claim), recorder)
                    self._runs.put(self._current)
                case Stop() | Answer() | Room():
                    self._tell(message)
                case Start():
                    continue
        if self._current is not None:  # nobody would hear of the end of this job, and it runs elsewhere soon
            if os.getppid() == self._worker:
                os._exit(EXIT_PIPE_CLOSED)
            os.killpg(0, signal.SIGKILL)
        self._runs.put(None)

    def _tell(self, message: Stop | Answer | Room) -> None:
        if self._current is None:
            return
        run, attempt, recorder = self._current
        match message:
            case Stop(number, reason) if number == run.number:
                attempt.signal.set(reason)
            case Answer():
                recorder.answered(message)
            case Room(number) if number == run.number:
                recorder.room()


def receive_start(pipe: Pipe) -> Start:
    """The first message. Raises EOFError when the worker was gone before it sent one."""
    message = pipe.receive()
    if not isinstance(message, Start):
        raise EOFError("the worker has ended")
    return message


def memory_used() -> int:
    """The resident memory of this process in bytes; on systems without /proc the most that it ever was."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def has_children() -> bool:
    """Whether this process has children, ended ones that nobody waited for included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


@contextmanager
def _memory_limit(limit: int | None) -> Iterator[None]:
    """RLIMIT_DATA counts what is allocated; RLIMIT_AS counts libraries and reserved addresses too (setrlimit(2))."""
    if limit is None:
        yield
        return
    soft, hard = resource.getrlimit(LIMITED)
    resource.setrlimit(LIMITED, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(LIMITED, (soft, hard))


def _out_of_memory(error: MemoryError, handler: Handler, attempt: Attempt, limit: int | None) -> Failed:
    text = "there was no more memory" if limit is None else f"it needed more than its memory of {limit // MIB} MiB"
    failure = failure_of(error, handler, attempt)
    trace = failure.error.traceback if isinstance(failure, Failed) else None
    return Failed(JobError(Kind.OUT_OF_MEMORY, f"the handler ran out of memory: {text}", trace))


def _known(result: Result) -> Returned | Failed | Interrupted:
    assert isinstance(result, Returned | Failed | Interrupted), "a handler that was found is never unknown"
    return result
