"""A worker under test: `headcount run` as a process of its own, and what it says of itself on its health port.

Used by every scenario. It talks to the worker as an operator would: environment, signals, /readyz, /metrics.
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

import psutil
from prometheus_client.parser import text_string_to_metric_families

from daemon.bench.stack import Environment
from daemon.errors import HeadcountError
from daemon.local.child import end_with_owner
from daemon.local.stack import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
Labels = frozenset[tuple[str, str]]


class BenchFailed(HeadcountError):
    """A measurement could not be made; the text says which and why."""


class WorkerUnderTest:
    """One worker, or several with `processes`, between `with` and its end."""

    def __init__(self, environment: Environment, log: Path, *, processes: int = 1, **settings: object) -> None:
        self.port = free_port()
        self._processes = processes
        self._log = log
        self._environment = {
            **os.environ,
            **environment.variables,
            "HEADCOUNT_HANDLERS": "daemon.bench.jobs",
            "HEADCOUNT_HTTP_HOST": "127.0.0.1",
            "HEADCOUNT_HTTP_PORT": str(self.port),
            "HEADCOUNT_SWEEP_INTERVAL_SECONDS": "60",
            **{f"HEADCOUNT_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child is not None
        return self._child.pid

    @property
    def process(self) -> psutil.Process:
        """The process, to be measured."""
        return psutil.Process(self.pid)

    def start(self) -> None:
        """Start it, without waiting."""
        more = ["--processes", str(self._processes)] if self._processes > 1 else []
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "daemon", "run", *more],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_owner(signal.SIGTERM),
            )

    def wait_ready(self) -> None:
        """Wait until every process takes in jobs. Raises BenchFailed."""
        until = time.monotonic() + READY_SECONDS
        waiting = [self.port + number for number in range(self._processes)]
        while waiting:
            if self._child is None or self._child.poll() is not None or time.monotonic() > until:
                raise BenchFailed(f"the worker did not become ready:\n{self._log.read_text()[-2000:]}")
            waiting = [port for port in waiting if not _is_ready(port)]
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, and wait for the drain."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def kill(self) -> None:
        """SIGKILL, like out of memory."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    def metrics(self, port: int | None = None) -> Metrics:
        """What /metrics says now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}/metrics", timeout=5) as answer:
            return Metrics.read(answer.read().decode())


class Metrics:
    """The samples of one scrape, by name and labels."""

    def __init__(self, samples: Mapping[tuple[str, Labels], float]) -> None:
        self._samples = samples

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse the exposition text."""
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): float(sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self._samples.items() if found == name and wanted <= has)

    def median_batch(self, operation: str) -> float:
        """The upper bound of the bucket that half of an operation's *items* went through."""
        name = "headcount_batch_items_bucket"
        bounds = sorted(
            (float(dict(labels)["le"]), value)
            for (found, labels), value in self._samples.items()
            if found == name and ("operation", operation) in labels
        )
        half = bounds[-1][1] / 2 if bounds else 0.0
        return next((bound for bound, count in bounds if count >= half and half), 0.0)

    def mean_batch(self, operation: str) -> float:
        """Items per commit of an operation."""
        count = self.value("headcount_batch_items_count", operation=operation)
        return self.value("headcount_batch_items_sum", operation=operation) / count if count else 0.0


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
