"""The embedded Pub/Sub as a process of its own, as the real service is one.

Called by `headcount demo`, `headcount dev` and the test harness. It says nothing of the protocol:
that is the server's, in `daemon.local.pubsub`.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from daemon.local import LocalServerError
from daemon.local.child import end_with_owner

START_SECONDS = 30.0
STOP_SECONDS = 5.0
ANNOUNCEMENT = re.compile(rb"listening on (\S+:\d+)\s")


class PubSubProcess:
    """One embedded Pub/Sub that this process owns; its state is in memory and ends with it.

    port: where to listen on 127.0.0.1; 0 for a free one, kept over `crash()` and `start()`.
    options: more of its command line, such as ("--hostile", "7").
    log: where its complaints go; by default a temporary file, shown when a start fails.
    """

    def __init__(self, *, port: int = 0, log: Path | None = None, options: Sequence[str] = ()) -> None:
        self._port = port
        self._options = options
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What PUBSUB_EMULATOR_HOST has to be: "127.0.0.1:PORT"."""
        if not self._port:
            raise LocalServerError("The embedded Pub/Sub is not running; start it before asking for its address.")
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it says where it listens. Started already: no change."""
        if self.pid is not None:
            return
        with self._log.open("a+b") if self._log else tempfile.TemporaryFile() as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "daemon.local.pubsub", "--port", str(self._port), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the owner
                preexec_fn=end_with_owner(signal.SIGTERM),
            )
            try:
                self._port = self._announced_port(self._child, log)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop it; what was published and not yet acknowledged is gone."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._forget(self._child)

    def crash(self) -> None:
        """Kill it with no chance to say goodbye to its clients. `start()` begins an empty one."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._forget(self._child)

    def _forget(self, child: subprocess.Popen[bytes]) -> None:
        if child.stdout is not None:
            child.stdout.close()
        self._child = None

    def _announced_port(self, child: subprocess.Popen[bytes], log: IO[bytes]) -> int:
        assert child.stdout is not None
        said = b""
        until = time.monotonic() + START_SECONDS
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            while time.monotonic() < until and ready.select(until - time.monotonic()):
                chunk = os.read(child.stdout.fileno(), 65536)
                said += chunk
                if found := ANNOUNCEMENT.search(said):
                    return int(found.group(1).rpartition(b":")[2])
                if not chunk:
                    break
        log.seek(0)
        complaint = (said + log.read()).decode(errors="replace").strip()
        raise LocalServerError(f"The embedded Pub/Sub did not start:\n{complaint[-2000:]}")
