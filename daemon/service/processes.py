"""Several workers on one machine: N `headcount run`, each complete and with a port of its own, under one supervisor.

Called by `headcount run --processes N`. The supervisor starts fresh interpreters (a fork after gRPC has started hangs),
restarts what crashed, passes SIGTERM on and ends with the worst exit code. It knows nothing of jobs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from daemon.local.child import end_with_owner
from daemon.machine import memory_limit
from daemon.rules.retry import Backoff, retry_delay

BACKOFF = Backoff(initial=1, factor=2, maximum=30, jitter=False)
HEALTHY_SECONDS = 60.0
KILL_SECONDS = 9.5  # after SIGTERM; each worker ends itself before that
LOOK_SECONDS = 0.1
MIB = 1024 * 1024
REFUSED = 2  # a worker that can't start for a reason: another try would end the same way

Report = Callable[[str, Mapping[str, object]], None]


class WorkerChild:
    """One of the workers: its port, its share of the memory, and its process while it has one."""

    def __init__(self, command: Sequence[str], port: int, memory_mib: int | None) -> None:
        self.port = port
        self._own = {"HEADCOUNT_HTTP_PORT": str(port)}
        if memory_mib is not None:
            self._own["HEADCOUNT_MEMORY_LIMIT_MIB"] = str(memory_mib)
        self.failures = 0
        self.start_at = 0.0
        self._command = command
        self._started = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._started = time.monotonic()
        self.process = subprocess.Popen(
            self._command,
            env={**os.environ, **self._own},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the supervisor, which passes it on
            preexec_fn=end_with_owner(signal.SIGTERM),
        )

    def ended(self) -> int | None:
        """The exit code of a worker that ended since the last call, once."""
        code = None if self.process is None else self.process.poll()
        if code is not None:
            self.process = None
            if time.monotonic() - self._started > HEALTHY_SECONDS:
                self.failures = 0
        return code

    def pause(self) -> float:
        """After another crash: seconds until the next start."""
        self.failures += 1
        pause = retry_delay(BACKOFF, self.failures, lambda: 1.0)
        self.start_at = time.monotonic() + pause
        return pause

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Supervisor:
    """Keeps `count` workers running until a signal, or until one of them says that it can't start at all.

    They share what memory the control group has, unless the settings of each name its limit (`has_memory_limit`).
    """

    def __init__(
        self, command: Sequence[str], count: int, first_port: int, report: Report, *, has_memory_limit: bool = False
    ) -> None:
        ports = [first_port + number if first_port else 0 for number in range(count)]
        limit = None if has_memory_limit else memory_limit()
        share = None if limit is None else max(1, limit // count // MIB)
        self._children = [WorkerChild(command, port, share) for port in ports]
        self._report = report
        self._signals = 0
        self._stopping_at: float | None = None
        self._worst = 0

    def run(self) -> int:
        """Supervise; the worst exit code of a worker that was not started again."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while self._stopping_at is None or any(child.process is not None for child in self._children):
            for child in self._children:
                self._look_at(child)
            if self._stopping_at is not None and time.monotonic() - self._stopping_at > KILL_SECONDS:
                self._pass_on(signal.SIGKILL)
            time.sleep(LOOK_SECONDS)
        return self._worst

    def _look_at(self, child: WorkerChild) -> None:
        code = child.ended()
        if code is not None:
            self._ended(child, code)
        if child.process is None and self._stopping_at is None and time.monotonic() >= child.start_at:
            child.start()

    def _ended(self, child: WorkerChild, code: int) -> None:
        if self._stopping_at is not None or code == REFUSED:
            # A worker that the signal met before it could drain had nothing to drain.
            asked = self._stopping_at is not None and -code in (signal.SIGTERM, signal.SIGINT)
            self._worst = max(self._worst, 0 if asked else code if code >= 0 else 128 - code)
            self._stop(signal.SIGTERM)
            return
        pause = child.pause()
        self._report("a worker ended and is started again", {"port": child.port, "exit_code": code, "pause": pause})

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._stop(signal.Signals(number))

    def _stop(self, number: signal.Signals) -> None:
        first = self._stopping_at is None
        if first:
            self._stopping_at = time.monotonic()
        if first or self._signals > 1:  # a second signal cuts the drain of every worker short
            self._pass_on(number)

    def _pass_on(self, number: signal.Signals) -> None:
        for child in self._children:
            child.signal(number)
