"""Whether the platform lets a worker stop in order: process 1, signals, and the memory it may use.

Called by `examination`. It reads /proc and the control groups; where a system has none, there is nothing to say.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from daemon.doctor.finding import Finding, advice, loses_work
from daemon.settings import Settings

AREA = "worker"
SHELLS = ("sh", "bash", "dash", "ash", "busybox", "zsh")
MIB = 1024 * 1024
WORKER_BYTES = 200 * MIB  # the interpreter, gRPC, SQLAlchemy and 64 MiB of messages
JOB_BYTES = 1 * MIB
CGROUPS = Path("/sys/fs/cgroup")


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


def check_memory(settings: Settings, root: Path = CGROUPS) -> Iterator[Finding]:
    """A memory limit that is too low for the slots."""
    limit = memory_limit(root)
    if limit is None:
        return
    buffered = settings.prefetch_limit
    what = f"The memory limit is {limit // MIB} MiB for {settings.slots} slots and {buffered} buffered messages."
    if limit < WORKER_BYTES:
        why = "The worker alone needs about 200 MiB; it is killed, and after three such losses a job ends as Errored."
        yield loses_work(AREA, what, why, "gcloud run worker-pools update WORKER_POOL --memory=1Gi")
    elif limit < WORKER_BYTES + settings.slots * JOB_BYTES:
        fitting = max(1, (limit - WORKER_BYTES) // JOB_BYTES)
        why = "That leaves less than 1 MiB for a job."
        yield advice(AREA, what, why, f"export HEADCOUNT_SLOTS={fitting}")


def memory_limit(root: Path) -> int | None:
    """The limit of this control group in bytes (version 2, else 1); None without one."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text)
    return None
