"""The log that handlers keep: a line for each begin and end of an attempt, appended by whichever process runs it.

Written by the handlers in worker processes, read by the checks. A line is one write to a file opened for appending, so
lines of different processes never mix; what a killed process had begun simply has no end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon import JobContext

VARIABLE = "CHAOS_DIARY"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `at` is the machine's monotonic clock, the same in every process; `wall` is seconds since the epoch."""

    kind: str
    job_id: str
    attempt: int
    pid: int
    at: float
    wall: float
    text: str = ""


def write(kind: str, ctx: JobContext, text: object = "") -> None:
    """Append a line about the running attempt."""
    line = f"{kind}\t{ctx.job_id}\t{ctx.attempt}\t{os.getpid()}\t{time.monotonic()}\t{time.time()}\t{text}\n"
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@contextmanager
def attempt(ctx: JobContext) -> Iterator[None]:
    """Begin and end of an attempt; the end says why, in the words of the context, when it was stopped."""
    write("begin", ctx)
    try:
        yield
    except BaseException as error:
        write("end", ctx, f"{type(error).__name__} {ctx.stop_reason or ''}".strip())
        raise
    write("end", ctx, "returned")


def read(path: Path) -> list[Entry]:
    """Every whole line so far."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().split("\n")[:-1]:
        kind, job_id, number, pid, at, wall, text = line.split("\t", 6)
        entries.append(Entry(kind, job_id, int(number), int(pid), float(at), float(wall), text))
    return entries
