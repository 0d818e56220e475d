"""The entry point of a child process: `python -m daemon.service.process_child DESCRIPTOR WORKER`.

Started by the pool of a worker; DESCRIPTOR is its end of the pipe, WORKER the process that it must not outlive. It
imports the handlers by the same discovery as the worker, and runs what it is sent.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from daemon.engine.executors.process.child import Child, Pipe, receive_start
from daemon.engine.executors.process.messages import Start
from daemon.registry import discover
from daemon.telemetry.forwarding import forward

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def child_command() -> list[str]:
    """What starts a child; a descriptor and a process id follow."""
    own = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *own, "-m", "daemon.service.process_child"]


def start_message(packages: Sequence[str], folder: Path, log_level: str, result_limit: int) -> Start:
    """The first message to a child, which imports from the same places as this process."""
    return Start(tuple(packages), str(folder.resolve()), tuple(sys.path), log_level, result_limit)


def main(descriptor: int, worker: int) -> None:
    """Run handlers until the worker closes the pipe."""
    _end_with(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="replace")
    os.set_inheritable(descriptor, False)
    pipe = Pipe(socket.socket(fileno=descriptor))
    start = receive_start(pipe)
    sys.path[:] = start.path
    forward(pipe.log, start.log_level, start.packages)
    Child(pipe, start, discover(start.packages, Path(start.folder))).run()


def _end_with(worker: int) -> None:
    """Linux kills this process when the worker's thread that started it ends, and hands it the orphans of its children.

    Elsewhere the end of the pipe is what ends it.
    """
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != worker:
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
