"""`headcount run` as a real process: start it, wait until it is ready, signal it, read its logs.

Used by system and chaos tests. It talks to the worker only as an operator could: environment,
signals, the HTTP port, standard output and the exit code.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daemon.local.child import end_with_owner
from tests.harness.waiting import PATIENCE, until

REPOSITORY = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
EXIT_SECONDS = 15.0
LINES_SHOWN = 20
QUICK_EXAMPLES = "handlers.checksum_file,handlers.build_manifest,handlers.compress_file"  # no child processes


def worker_environment(database_url: str, project: str, pubsub: str, **settings: object) -> dict[str, str]:
    """The environment of a worker: PATH, the three addresses, and HEADCOUNT_<NAME> for each setting."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        "PUBSUB_EMULATOR_HOST": pubsub,
        "HEADCOUNT_DATABASE_URL": database_url,
        "HEADCOUNT_PROJECT": project,
        "HEADCOUNT_HTTP_HOST": "127.0.0.1",
        **{f"HEADCOUNT_{name.upper()}": str(value) for name, value in settings.items()},
    }


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class WorkerProcess:
    """One worker. `async with WorkerProcess(environment, tmp_path) as worker:` starts it and waits until it is ready.

    folder: its current folder (the one with `handlers/`) is `handlers_in`; its log is written to `folder`. Of this
    repository's handlers it has those that need no processes of their own, unless `environment` names others.
    On leaving it is killed if it still runs; after a failure its log is printed for the report.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        handlers_in: Path = REPOSITORY,
        command: tuple[str, ...] = ("run",),
    ) -> None:
        self.port = int(environment.get("HEADCOUNT_HTTP_PORT", 0)) or free_port()
        examples = handlers_in == REPOSITORY and "HEADCOUNT_HANDLERS_PATH" not in environment
        handlers = {"HEADCOUNT_HANDLERS": QUICK_EXAMPLES} if examples else {}
        self._environment = {**handlers, **environment, "HEADCOUNT_HTTP_PORT": str(self.port)}
        self._handlers_in = handlers_in
        self._command = command
        self._log = folder / f"worker-{self.port}.log"
        self._child: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        """For waits that took too long: its exit code and the end of its log."""
        end = "\n    ".join(self.log.splitlines()[-LINES_SHOWN:])
        code = self._child.poll() if self._child is not None else "not started"
        return f"WorkerProcess(exit code {code}, log:\n    {end})"

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.until_ready()
        except BaseException:
            self._end(failed=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(failed=error is not None)

    def start(self) -> None:
        """Start the process, without waiting for anything."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "daemon", *self._command],
                cwd=self._handlers_in,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_owner(signal.SIGKILL),
            )

    @property
    def child(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, "the worker was not started"
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if one killed it."""
        return self.child.poll()

    async def until_ready(self, *, within: float = READY_SECONDS) -> None:
        """Wait until /readyz says 200; fails at once, with the log, if the process ends before."""

        def ready_or_ended() -> bool:
            return self.exit_code is not None or self.status_of("/readyz") == 200

        await until(ready_or_ended, within=within, what=f"worker {self.pid} is ready")
        assert self.exit_code is None, f"the worker ended with exit code {self.exit_code}:\n{self.log}"

    async def until_exit(self, *, code: int | None = 0, within: float = EXIT_SECONDS) -> None:
        """Wait until the process has ended, and assert its exit code (None: any)."""
        await until(lambda: self.exit_code is not None, within=within, what=f"worker {self.pid} has ended")
        assert code is None or self.exit_code == code, f"exit code {self.exit_code}, not {code}:\n{self.log}"

    async def until_logged(self, text: str, *, within: float = PATIENCE) -> None:
        """Wait until its output contains `text`."""
        await until(lambda: text in self.log, within=within, what=f"{text!r} in the worker's log")

    def terminate(self) -> None:
        """SIGTERM, as a rollout sends it."""
        self.child.terminate()

    def interrupt(self) -> None:
        """SIGINT, as Ctrl-C sends it."""
        self.child.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL: gone at once, like out of memory; returns when it is gone."""
        self.child.kill()
        self.child.wait()

    def pause(self) -> None:
        """SIGSTOP: alive but silent, like a machine that hangs."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.send_signal(signal.SIGCONT)

    def status_of(self, path: str) -> int | None:
        """The HTTP status of a path on its port; None when nobody answers."""
        return self._get(path)[0]

    def body_of(self, path: str) -> str:
        """The text at a path on its port ("/metrics")."""
        return self._get(path)[1]

    def _get(self, path: str) -> tuple[int | None, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode(errors="replace")
        except OSError:
            return None, ""

    @property
    def log(self) -> str:
        """All it has written so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def log_records(self) -> list[dict[str, Any]]:
        """Its JSON log lines; lines that are no JSON are left out."""
        records = []
        for line in self.log.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                records.append(record)
        return records

    def _end(self, *, failed: bool) -> None:
        if self.child.poll() is None:
            self.resume()
            self.kill()
        if failed:
            print(f"---- log of worker {self.pid} ----\n{self.log}")
