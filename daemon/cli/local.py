"""A worker on this machine for `demo` and `dev`: schema, topics, and `headcount run` as a child.

Called by those two only. It uses the very functions of `headcount migrate` and `headcount provision`, and talks to the
worker as an operator would: environment, signals, the health port, its log.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from daemon.local import LocalServerError
from daemon.local.child import end_with_owner

READY_SECONDS = 60.0
STOP_SECONDS = 12.0
LOG_TAIL = 15


def prepare(environment: Mapping[str, str]) -> list[str]:
    """Point this process at a local stack, migrate its database and create what Pub/Sub lacks.

    The migrations that were applied.
    """
    from daemon.postgres.migrations import upgrade
    from daemon.pubsub.resources import desired, provision
    from daemon.settings import load

    os.environ.update(environment)
    settings = load()
    applied = upgrade(settings.database_url.get_secret_value())
    asyncio.run(provision(desired(settings)))
    return applied


def end_like_ctrl_c() -> None:
    """Let SIGTERM and a closed terminal stop everything in order, as Ctrl-C does.

    Ctrl-C itself is switched on too: a shell that starts a command in the background switches it off for it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` means it
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


class LocalWorker:
    """One worker (or another server: `command`), which does not outlive this process.

    folder: its current folder; log: where its lines go, or None for this terminal.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, log: Path | None, command: str = "run") -> None:
        self._command = command
        self._environment = environment
        self._folder = folder
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        output = None if self.log is None else self.log.open("wb")
        # The very `daemon` that runs here. -P: the current folder may hold anything, even another `daemon`.
        path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "daemon", self._command],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": path, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the owner, who stops it in order
            preexec_fn=end_with_owner(signal.SIGTERM),
        )
        if output is not None:
            output.close()

    def wait_ready(self) -> None:
        """Wait until it takes in jobs. Raises LocalServerError."""
        url = f"http://127.0.0.1:{self._environment['HEADCOUNT_HTTP_PORT']}/readyz"
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return
            except OSError:
                self.check()
            if time.monotonic() > until:
                raise LocalServerError(f"The worker was not ready after {READY_SECONDS:.0f} s.{self._log_tail()}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises LocalServerError, with the end of its log, when it no longer runs."""
        if self.exit_code is not None:
            raise LocalServerError(f"The worker ended with exit code {self.exit_code}.{self._log_tail()}")

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

    def _log_tail(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        return "".join(f"\n  {line}" for line in [f"The end of {self.log}:", *lines])
