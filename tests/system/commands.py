"""`headcount` as a person or a script types it: a child process, its two outputs and its exit code.

Used by the system tests of the command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.harness.waiting import eventually
from tests.harness.worker import REPOSITORY, worker_environment

HEADCOUNT = [sys.executable, "-m", "daemon"]


def on_path(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment, in which a shell finds `headcount`."""
    return {**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}


def typed(
    *words: str, environment: Mapping[str, str], folder: Path = REPOSITORY, given: str = "", code: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; asserts the exit code (None: any) and that no traceback was shown."""
    done = subprocess.run(
        [*HEADCOUNT, *words], cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False
    )
    assert "Traceback (most recent call last)" not in done.stderr, done.stderr
    assert code is None or done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


def asked(
    *words: str, environment: Mapping[str, str], folder: Path = REPOSITORY, given: str = "", code: int | None = 0
) -> Any:
    """The JSON document that a command printed."""
    return json.loads(typed(*words, environment=environment, folder=folder, given=given, code=code).stdout)


def with_handlers(
    source: str, folder: Path, database_url: str, project: str, pubsub: str, **settings: object
) -> dict[str, str]:
    """The environment of a worker that finds handlers of this source in `folder`; topics provisioned as by hand."""
    package = folder / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    environment = worker_environment(database_url, project, pubsub, handlers_path=folder, **settings)
    typed("provision", environment=environment)
    return environment


class Session:
    """A command that goes on until it is interrupted; whatever it started is watched too."""

    def __init__(
        self, words: list[str], environment: Mapping[str, str], folder: Path, log: Path, *, given: bool = False
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                [*HEADCOUNT, *words],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._family: set[psutil.Process] = set()

    @property
    def said(self) -> str:
        """All it printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def children(self) -> set[psutil.Process]:
        """All processes it has started so far."""
        self._look()
        return self._family

    def answer(self, text: str) -> None:
        """Type this; it was made with `given`."""
        assert self.child.stdin is not None
        self.child.stdin.write(text.encode())
        self.child.stdin.close()

    def until_said(self, text: str, *, within: float = 90.0) -> None:
        """Wait until it printed this."""
        eventually(lambda: self._look() and text in self.said, within=within, what=f"{text!r} in:\n{self.said}")

    def interrupt(self, *, code: int, number: signal.Signals = signal.SIGINT, within: float = 25.0) -> None:
        """Ctrl-C (or another signal); asserts the exit code and that no process is left."""
        self._look()
        self.child.send_signal(number)
        ended = self.child.wait(within)
        assert ended == code, f"exit code {ended}:\n{self.said}"
        assert "Traceback" not in self.said, self.said
        self.until_nothing_is_left()

    def until_nothing_is_left(self) -> None:
        """Wait until no process that it started lives."""
        eventually(lambda: not self._alive(), within=20, what=f"processes left: {self._alive()}")

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def _look(self) -> bool:
        assert self.child.poll() is None, f"it ended with {self.child.returncode}:\n{self.said}"
        with contextlib.suppress(psutil.NoSuchProcess):
            self._family |= set(psutil.Process(self.child.pid).children(recursive=True))
        return True

    def _alive(self) -> list[str]:
        alive = []
        for process in self._family:
            try:
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                continue
        return alive
