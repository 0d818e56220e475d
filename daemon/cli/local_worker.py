"""`headcount run` as a child of `demo` and `dev`: the same command and the same variables as in production.

Called by those two. It talks to the worker as an operator would: environment, signals, the health port, its log.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.local import LocalServerError
from daemon.local.child import end_with_owner

READY_SECONDS = 60.0
STOP_SECONDS = 12.0
TAIL = 15


class LocalWorker:
    """One worker, between `with` and its end. It does not outlive this process.

    folder: its current folder; log: where its lines go, or None for this terminal.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path | None) -> None:
        self._environment = environment
        self._folder = folder
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        output = None if self.log is None else self.log.open("wb")
        # -P: the current folder may hold anything, even another `daemon`; only what is installed counts.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "daemon", "run"],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": _package_path(), **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the owner, who stops it in order
            preexec_fn=end_with_owner(signal.SIGTERM),
        )
        if output is not None:
            output.close()

    def is_ready(self) -> bool:
        """Whether it takes in jobs."""
        url = f"http://127.0.0.1:{self._environment['HEADCOUNT_HTTP_PORT']}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_ready(self) -> None:
        """Wait until it is ready. Raises LocalServerError."""
        until = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            self.check()
            if time.monotonic() > until:
                raise LocalServerError(f"The worker was not ready after {READY_SECONDS:.0f} s.{self._tail()}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises LocalServerError, with the end of its log, when it does not run any more."""
        if self.exit_code is not None:
            raise LocalServerError(f"The worker ended with exit code {self.exit_code}.{self._tail()}")

    def stop(self) -> None:
        """SIGTERM, and wait for the drain; a Ctrl-C meanwhile cuts the drain short."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        until = time.monotonic() + STOP_SECONDS
        while self._child.poll() is None:
            try:
                self._child.wait(max(0.0, until - time.monotonic()))
            except KeyboardInterrupt:
                self._child.terminate()
            except subprocess.TimeoutExpired:
                self._child.kill()

    def _tail(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        return "".join(f"\n  {line}" for line in [f"The end of {self.log}:", *lines])


def _package_path() -> str:
    """PYTHONPATH for the child: where this very `daemon` was loaded from, before all else."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
