"""Handlers that run in child processes, well-behaved ones and others. Imported by the children of the tests."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from daemon import JobContext, RetryLater, job, lifespan

GIL_HOLDING = "(a+)+$", "a" * 40 + "b"


@job("add", executor="process")
def add(params: dict[str, int], ctx: JobContext) -> dict[str, object]:
    return {
        "sum": sum(params.values()),
        "pid": os.getpid(),
        "main": threading.current_thread() is threading.main_thread(),
    }


@job("whoami", executor="process")
def whoami(params: dict[str, Any], ctx: JobContext) -> list[object]:
    return [str(ctx.job_id), ctx.index, ctx.count, ctx.attempt, ctx.failures, dict(ctx.tags), ctx.checkpoint]


@job("report", executor="process")
def report(params: dict[str, Any], ctx: JobContext) -> None:
    for step in range(3):
        ctx.progress(step, 3, f"step {step}")
        ctx.note(f"note {step}")
        ctx.save(step)
    ctx.progress(3, 3)


@job("speak", executor="process")
def speak(params: dict[str, Any], ctx: JobContext) -> None:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    sys.stdout.write("no newline")
    ctx.log.warning("by the context", cups=3, name="x")
    logging.getLogger("tests.unit.engine.process_jobs").info("by %s", "logging")


class Model:
    """What handlers share in one process."""

    def __init__(self) -> None:
        self.uses = 0


@lifespan
async def model() -> AsyncIterator[Model]:
    yield Model()
    print("the model is closed")


@job("use", executor="process")
def use(params: dict[str, Any], ctx: JobContext, model: Model) -> int:
    model.uses += 1
    return model.uses


@job("explode", executor="process")
def explode(params: dict[str, Any]) -> None:
    raise LookupError("no such thing")


@job("later", executor="process")
def later(params: dict[str, Any]) -> None:
    raise RetryLater("not now", after=7)


@job("leave", executor="process")
def leave(params: dict[str, int]) -> None:
    os._exit(params["code"])


@job("segfault", executor="process")
def segfault(params: dict[str, Any]) -> None:
    ctypes.string_at(0)


@job("kill", executor="process")
def kill(params: dict[str, int]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@job("regex", executor="process", timeout=0.2)
def regex(params: dict[str, Any]) -> None:
    re.match(*GIL_HOLDING)


@job("hoard", executor="process", memory_mib=300)
def hoard(params: dict[str, Any]) -> int:
    return len(bytearray(params["mib"] * 1024 * 1024))


@job("wait", executor="process", timeout=60)
def wait(params: dict[str, str], ctx: JobContext) -> str:
    Path(params["begun"]).touch()
    ctx.wait_stop(30)
    ctx.stop_point()
    return "in time"


@job("deaf", executor="process", timeout=60)
def deaf(params: dict[str, str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(params["begun"]).touch()
    time.sleep(30)


@job("overrun", executor="process", timeout=0.2)
def overrun(params: dict[str, Any], ctx: JobContext) -> str:
    ctx.wait_stop(30)
    return f"stopped for {ctx.stop_reason}"


@job("stop_overall", executor="process", overall_timeout=0.2)
def stop_overall(params: dict[str, Any], ctx: JobContext) -> None:
    ctx.wait_stop(30)
    ctx.stop_point()


@job("picky", executor="process", give_up_on=LookupError)
def picky(params: dict[str, Any]) -> None:
    raise KeyError("a")


@job("beget", executor="process")
def beget(params: dict[str, Any]) -> int:
    return subprocess.Popen(["sleep", "600"]).pid


@job("beget_and_die", executor="process")
def beget_and_die(params: dict[str, str]) -> None:
    Path(params["file"]).write_text(str(subprocess.Popen(["sleep", "600"]).pid))
    os._exit(9)


@job("close_pipe", executor="process")
def close_pipe(params: dict[str, Any]) -> None:
    os.closerange(3, 256)


@job("hang_up", executor="process")
def hang_up(params: dict[str, Any]) -> None:
    for descriptor in range(3, 256):
        with contextlib.suppress(OSError):
            socket.socket(fileno=os.dup(descriptor)).shutdown(socket.SHUT_RDWR)
    time.sleep(30)


@job("bulky", executor="process")
def bulky(params: dict[str, int]) -> str:
    return "x" * params["bytes"]


@job("not_json", executor="process")
def not_json(params: dict[str, Any]) -> object:
    return object()
