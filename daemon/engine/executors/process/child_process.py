"""The worker's end of one child process: starting it, speaking to it, and ending it with all that it has started.

Made by the pool, on the event loop. The child leads a session and so a process group of its own; it is waited for only
after the group was killed, so that the group's number is nobody else's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from daemon.engine.executors.process.death import Death
from daemon.engine.executors.process.group_killer import GroupKiller
from daemon.engine.executors.process.messages import (
    LENGTH,
    Ended,
    FromChild,
    Log,
    Note,
    Ready,
    Report,
    Run,
    Save,
    Start,
    Stop,
    ToChild,
    frame_to_child,
    from_child,
)
from daemon.engine.executors.process.printed import PrintedLines
from daemon.engine.executors.process.remote_run import RemoteRun
from daemon.engine.executors.process_group import signal_group
from daemon.job import Claim, Evicted, Failed, StopReason
from daemon.observe import LogLine, Observer
from daemon.recorder import Recorder

INFO = 20
PIPE_CLOSED = "it closed its pipe to the worker"
FRAME_OVERHEAD = 4 * 1024 * 1024  # a checkpoint, a traceback; a result is text within JSON: up to twice as long
TERMINATE_SECONDS = 0.3
PIPE_SECONDS = 1.0


class ChildProcess:
    """A child: `ready` once it has imported the handlers, `over` once it needs a successor, `exited` in the end."""

    def __init__(self, command: Sequence[str], start: Start, observer: Observer, groups: GroupKiller) -> None:
        self._start = start
        self._observer = observer
        self._groups = groups
        self._loop = asyncio.get_running_loop()
        self.ready, self.over, self.exited = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.jobs = 0
        self.memory = 0
        self.is_retired = False  # its successor is ready
        self.is_ending = False  # it was told to, or its pipe is closed: no further job
        self.cause: str | None = None  # why the worker ended it, if that is the job's failure
        self.eviction: Evicted | Failed | None = None  # what its job's attempt came to when it was ended for its memory
        self._run: RemoteRun | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException:
                self._ours.close()
                raise
        groups.add(self._process.pid)
        assert self._process.stdout is not None, "it was asked for"
        assert self._process.stderr is not None, "it was asked for"
        self._printed = (
            PrintedLines(self._process.stdout, partial(self._print, "stdout")),
            PrintedLines(self._process.stderr, partial(self._print, "stderr")),
        )
        self._death = Death(self._process, self._died)
        self._task = self._loop.create_task(self._serve())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, or minus the number of the signal that killed it; None before `exited`."""
        return self._process.returncode

    @property
    def is_busy(self) -> bool:
        return self._run is not None

    @property
    def claim(self) -> Claim | None:
        """What it runs."""
        return None if self._run is None else self._run.claim

    def begin(self, claim: Claim, timeout: float | None, memory: int | None, recorder: Recorder) -> RemoteRun:
        """Run the handler of a claim."""
        self.jobs += 1
        self._run = RemoteRun(self.jobs, claim, recorder, self._send)
        self._send(Run(self.jobs, claim, timeout, memory))
        return self._run

    def finish(self) -> None:
        """The run is over."""
        self._run = None

    def ask_to_stop(self, reason: StopReason) -> None:
        """Tell the handler that runs."""
        if self._run is not None:
            self._send(Stop(self._run.number, reason))

    def terminate(self) -> None:
        """End it now, whatever it does: SIGTERM to its group, then SIGKILL."""
        self._signal(signal.SIGTERM)
        self._loop.call_later(TERMINATE_SECONDS, self.kill)
        self._ends()

    def kill(self, cause: str | None = None) -> None:
        """SIGKILL to its group."""
        self.cause = self.cause or cause
        self._signal(signal.SIGKILL)
        self._ends()

    def evict(self, result: Evicted | Failed) -> None:
        """SIGKILL to its group, which is the result of its job's attempt."""
        self.eviction = result
        self.kill()

    def close(self) -> None:
        """Let it end by itself, and kill it if it does not. It must not be busy."""
        self._loop.call_later(PIPE_SECONDS, self.kill)
        self._ends()
        if self._writer is not None:
            self._writer.close()

    def kill_and_wait(self) -> None:
        """For the end of the event loop: returns when it is gone."""
        self._task.cancel()
        if not self.exited.is_set():
            self._signal(signal.SIGKILL)
            self._reap()

    async def _serve(self) -> None:
        """Take what it says until the pipe ends, and wait for its death."""
        limit = 2 * self._start.result_limit + FRAME_OVERHEAD
        try:
            reader, self._writer = await asyncio.open_unix_connection(sock=self._ours)
            self._send(self._start)
            while True:
                (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                if size > limit:
                    self.kill(f"it sent {size} bytes at once")
                    break
                self._take(from_child(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            if not self._death.happened.is_set() and not self.is_ending:
                await self._closed_its_pipe()
        except Exception as error:  # a child that can't be heard is of no use, whatever the reason
            self.kill(f"what it sent could not be taken ({type(error).__name__})")
        await self._death.happened.wait()
        self._reap()

    async def _closed_its_pipe(self) -> None:
        """A process that ends closes it a moment before it can be waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PIPE_SECONDS):
                await self._death.happened.wait()
                return
        self.kill(PIPE_CLOSED)

    def _take(self, message: FromChild) -> None:
        match message:
            case Ready():
                self.ready.set()
            case Log(line):
                self._observer.handler_logged(self.claim, line)
            case Report() | Note() | Save() | Ended():
                if isinstance(message, Ended):
                    self.memory = message.memory
                    self._read_printed()
                    if message.spoiled:
                        self._ends()
                if self._run is not None and self._run.number == message.number:
                    self._run.take(message)

    def _died(self) -> None:
        """What it has started ends too; then nobody holds the other ends of its pipes."""
        self._signal(signal.SIGKILL)
        self._ends()
        self._loop.call_later(PIPE_SECONDS, self._drop_pipe)  # what has left its group may hold it open for good

    def _reap(self) -> None:
        self._groups.discard(self._process.pid)
        self._process.wait()
        self._death.close()
        for printed in self._printed:
            printed.close()
        self._drop_pipe()
        self.exited.set()
        self._ends()
        self.ready.set()
        if self._run is not None:
            self._run.end(None)

    def _drop_pipe(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        else:
            self._ours.close()

    def _ends(self) -> None:
        self.is_ending = True
        self.over.set()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            signal_group(self._process.pid, number)

    def _send(self, message: ToChild) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame_to_child(message))

    def _read_printed(self) -> None:
        for printed in self._printed:
            printed.read_rest()

    def _print(self, stream: str, text: str) -> None:
        self._observer.handler_logged(self.claim, LogLine("headcount.handler", INFO, text, {"stream": stream}))
