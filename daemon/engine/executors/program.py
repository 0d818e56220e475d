"""A running program: its pipes, its lines, and its end.

Made by the command executor for each attempt, on the event loop. It must not know what a line means, nor what the end
of the program means for the job.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Protocol, runtime_checkable

from daemon.engine.executors.process_group import signal_group
from daemon.rules.program_output import LineSplitter

STDIN, STDOUT, STDERR = 0, 1, 2
LINGER_SECONDS = 0.25
LINGER_BYTES = 1024 * 1024  # as much as a pipe can hold


@runtime_checkable
class _Process(Protocol):
    """asyncio's SubprocessTransport, which that of uvloop does not inherit from."""

    def get_pid(self) -> int: ...
    def get_returncode(self) -> int | None: ...
    def get_pipe_transport(self, fd: int) -> object: ...
    def close(self) -> None: ...


@runtime_checkable
class _InputPipe(Protocol):
    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...


@runtime_checkable
class _OutputPipe(Protocol):
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Program(asyncio.SubprocessProtocol):
    """One program, from its start until nothing of its process group is left. `code` is its exit code, as of Popen.

    A pipe is not read while lines of it wait to be taken: a program that says more than is taken has to wait.
    """

    def __init__(self, stdin: bytes, result_limit: int) -> None:
        self.code: int | None = None
        self.was_stopped = False
        self._stdin = stdin
        self._loop = asyncio.get_running_loop()
        self._process: _Process | None = None
        self._splitters = {STDOUT: LineSplitter(result_limit), STDERR: LineSplitter()}  # of the pipes that are open
        self._lines: deque[tuple[int, bytes]] = deque()
        self._paused: set[int] = set()
        self._changed = asyncio.Event()
        self._kill_at = math.inf
        self._kill: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._late_bytes = 0  # read since it ended
        self._quiet_checks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs: from the event loop."""
        assert isinstance(transport, _Process)
        self._process = transport
        pipe = transport.get_pipe_transport(STDIN)
        assert isinstance(pipe, _InputPipe)
        with suppress(RuntimeError):  # uvloop, when the program has ended by now or has closed its standard input
            pipe.write(self._stdin)
            pipe.write_eof()
        if self.was_stopped:
            self._signal(signal.SIGTERM)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It says something: from the event loop."""
        self._quiet_checks = 0
        self._late_bytes += len(data) if self.code is not None else 0
        splitter = self._splitters.get(fd)
        lines = [] if splitter is None else splitter.feed(data)
        if lines:
            self._pipe(fd).pause_reading()
            self._paused.add(fd)
            self._add(fd, lines)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """One of its pipes is closed: from the event loop."""
        self._end_pipe(fd)

    def process_exited(self) -> None:
        """It has ended: from the event loop. What it has started and left behind in its group ends too."""
        assert self._process is not None
        self.code = self._process.get_returncode()
        self._signal(signal.SIGKILL)
        self._linger = self._loop.call_later(LINGER_SECONDS, self._check_pipes)
        self._changed.set()

    async def read(self) -> list[tuple[int, bytes]]:
        """The next lines, each with the stream that it came from; none when the program and its pipes have ended."""
        for fd in self._paused & self._splitters.keys():
            self._pipe(fd).resume_reading()
        self._paused.clear()
        while not self._lines and (self.code is None or self._splitters):
            self._changed.clear()
            await self._changed.wait()
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def stop(self, grace: float) -> None:
        """Ask its group to end, and kill it if it has not ended `grace` seconds from now. May be called again."""
        if self.code is not None:
            return
        self.was_stopped = True
        self._signal(signal.SIGTERM)
        if self._loop.time() + grace < self._kill_at:
            self._kill_at = self._loop.time() + grace
            if self._kill is not None:
                self._kill.cancel()
            self._kill = self._loop.call_later(grace, partial(self._signal, signal.SIGKILL))

    def close(self) -> None:
        """Leave nothing running, whatever happened."""
        for timer in (self._kill, self._linger):
            if timer is not None:
                timer.cancel()
        if self._process is not None:
            if self.code is None:
                self._signal(signal.SIGKILL)
            self._process.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            signal_group(self._process.get_pid(), number)

    def _pipe(self, fd: int) -> _OutputPipe:
        assert self._process is not None
        pipe = self._process.get_pipe_transport(fd)
        assert isinstance(pipe, _OutputPipe)
        return pipe

    def _add(self, fd: int, lines: list[bytes]) -> None:
        self._lines.extend((fd, line) for line in lines)
        self._changed.set()

    def _end_pipe(self, fd: int) -> None:
        splitter = self._splitters.pop(fd, None)
        if splitter is not None:
            self._add(fd, splitter.end())

    def _check_pipes(self) -> None:
        """A process that left the group may hold the pipes open for good: only what is in them is waited for.

        Two checks, because the first may come before the event loop, if that was late, has looked at the pipes.
        """
        self._quiet_checks += 0 if self._paused else 1
        if self._quiet_checks < 2 and self._late_bytes <= LINGER_BYTES:
            self._linger = self._loop.call_later(LINGER_SECONDS, self._check_pipes)
            return
        for fd in (STDOUT, STDERR):
            self._end_pipe(fd)
