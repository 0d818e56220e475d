"""The server's process: the folder lock, the start as a child, leftovers of a crashed owner, the end.

Called by EmbeddedPostgres only. It knows nothing of databases or connections, and it signals no
process that is not a `postgres` on this very folder.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from daemon.local import LocalServerError
from daemon.local.child import end_with_owner
from daemon.local.postgres.account import Account

POLL_SECONDS = 0.01
FAST_STOP_SECONDS = 15.0


class FolderLock:
    """One owner of a data folder at a time; the kernel frees it when the owner dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take it, or raise LocalServerError naming the process that has it. Taken twice: no change."""
        if self._file is not None:
            return
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise LocalServerError(f"{self._path.parent} is in use by process {owner}. Stop that one first.") from taken
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def free(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that would steer Postgres, and with plain C messages."""
    kept = {name: value for name, value in environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def start_child(command: Sequence[str | Path], account: Account, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `command` as the account, in a session of its own: Ctrl-C is for the owner, not for it."""
    return subprocess.Popen(
        command,
        cwd="/",
        env=server_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=end_with_owner(
            signal.SIGINT
        ),  # a fast stop; set after the switch of user, which would clear the setting
        **account.identity,
    )


def wait_for_end(ended: Callable[[], bool], seconds: float) -> bool:
    """True as soon as `ended()`; False when that took longer than `seconds`."""
    until = time.monotonic() + seconds
    while not ended():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def stop_child(child: subprocess.Popen[bytes]) -> None:
    """Fast stop (open transactions are rolled back), then immediate, then kill."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if child.poll() is not None:
            return
        child.send_signal(number)
        if wait_for_end(lambda: child.poll() is not None, FAST_STOP_SECONDS):
            return
    raise LocalServerError(f"Postgres (process {child.pid}) does not stop.")


def kill_child(child: subprocess.Popen[bytes]) -> None:
    """Kill it, and wait until its backends have ended too: they see it by themselves, but a moment later.

    Until then a client is still answered, and the next start finds the folder's shared memory in use.
    """
    backends = psutil.Process(child.pid).children() if child.poll() is None else []
    child.kill()
    child.wait()
    _, left = psutil.wait_procs(backends, FAST_STOP_SECONDS)
    for backend in left:
        backend.kill()


def stop_leftover(data: Path) -> int | None:
    """Stop the server that a crashed owner left on this folder; its process id, None if there was none.

    Call it with the folder's lock: then whoever started that server is gone.
    """
    pid = leftover_pid(data)
    if pid is None:
        return None
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return pid
        except PermissionError as refused:
            raise LocalServerError(
                f"Another user's Postgres (process {pid}) runs on {data}. Stop it first."
            ) from refused
        if wait_for_end(lambda: leftover_pid(data) is None, FAST_STOP_SECONDS):
            return pid
    raise LocalServerError(f"A Postgres left over on {data} (process {pid}) does not stop.")


def leftover_pid(data: Path) -> int | None:
    """The process in postmaster.pid, if it lives and its command line names postgres and this folder."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    command = _command_line(pid)
    return pid if "postgres" in command and str(data) in command else None


def _command_line(pid: int) -> str:
    if sys.platform.startswith("linux"):
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
