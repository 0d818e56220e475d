"""Whether the platform lets a worker stop in order: process 1, signals, and the memory it may use.

Called by `examination`. It reads /proc and the control groups; where a system has none, there is nothing to say.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from daemon.doctor.finding import Finding, advice, loses_work
from daemon.machine import ROOT, cpus, memory_limit
from daemon.registry import Handler
from daemon.settings import Settings

AREA = "worker"
SHELLS = ("sh", "bash", "dash", "ash", "busybox", "zsh")
MIB = 1024 * 1024
WORKER_BYTES = 200 * MIB  # the interpreter, gRPC, SQLAlchemy and 64 MiB of messages
CHILD_BYTES = 60 * MIB  # an interpreter with small handlers; what they import comes on top
JOB_BYTES = 1 * MIB


def check_signals() -> Iterator[Finding]:
    """A shell as process 1, or a blocked SIGTERM: then the worker is killed without a drain."""
    shell = shell_above(os.getppid(), Path("/proc"), interactive=sys.stdin is not None and sys.stdin.isatty())
    if shell:
        what = f"Process 1 is the shell `{shell}`, and Headcount is its child."
        why = "The platform sends SIGTERM to process 1; a shell does not pass it on, and after 10 s all is killed."
        yield loses_work(AREA, what, why, 'ENTRYPOINT ["headcount"]  # or in a script: exec headcount run')
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        what = "SIGTERM is blocked for this process by the one that started it."
        why = "The worker never hears that it has to stop, and is killed in the middle of its jobs."
        yield loses_work(AREA, what, why, "exec env --default-signal=TERM headcount run")


def shell_above(parent: int, proc: Path, *, interactive: bool) -> str:
    """The shell that is process 1 and our parent, "" if that is not so (or a person typed the command in it)."""
    if parent != 1 or interactive:
        return ""
    try:
        name = (proc / "1" / "comm").read_text().strip()
    except OSError:
        return ""
    return name if name in SHELLS else ""


def check_memory(settings: Settings, handlers: Iterable[Handler], root: Path = ROOT) -> Iterator[Finding]:
    """A memory limit that is too low for the slots, or for the processes of handlers."""
    limit = settings.memory_limit_mib * MIB or memory_limit(root)
    if limit is None:
        return
    computing = any(handler.executor == "process" for handler in handlers)
    children = (settings.process_slots or cpus()) if computing else 0
    needed = WORKER_BYTES + children * CHILD_BYTES
    beside = f", {children} processes of handlers" if children else ""
    what = f"The memory limit is {limit // MIB} MiB for {settings.slots} slots{beside} and "
    what += f"{settings.prefetch_limit} buffered messages."
    if limit < needed:
        why = f"The worker alone needs about {needed // MIB} MiB; it is killed, and after three such losses a job ends "
        yield loses_work(AREA, what, f"{why}as Errored.", "gcloud run worker-pools update WORKER_POOL --memory=1Gi")
    elif limit < needed + settings.slots * JOB_BYTES:
        fitting = max(1, (limit - needed) // JOB_BYTES)
        why = "That leaves less than 1 MiB for a job."
        yield advice(AREA, what, why, f"export HEADCOUNT_SLOTS={fitting}")
