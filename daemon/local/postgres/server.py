"""EmbeddedPostgres: a server in a folder, from `initdb` to the last stop.

Called by `headcount demo`, `headcount dev` and the test harness. It listens on a unix socket and,
only if asked, on 127.0.0.1. The socket's folder is open to its owner only, who is trusted; over TCP a
password is asked for where one was given. Not for production.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from daemon.local import LocalServerError
from daemon.local.postgres import process
from daemon.local.postgres.account import reachable_binaries, reachable_folder, server_account
from daemon.local.postgres.binaries import Binaries, find_binaries

START_SECONDS = 60.0
LONGEST_SOCKET_PATH = 100  # the kernel's limit is 107 bytes, 103 on macOS
PORT = 5432
INITDB_OPTIONS = ("-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
ORPHANS_STILL_THERE = "pre-existing shared memory block"


class EmbeddedPostgres:
    """One Postgres server that this process owns.

    folder: the server's own folder, empty or used by it before. Root's server may have to live
    elsewhere (see `folder` and `origin` after the start), because Postgres never runs as root.
    durable=False skips fsync: commits survive a crash of the server, not of the machine.
    tcp_port: also listen on 127.0.0.1, 0 for a free port; the number is kept over restarts.
    password: what clients over TCP must know, letters that a URL takes unescaped; None lets every account of this
    machine in, which is for tests on a machine of one's own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = False,
        settings: Mapping[str, str | int] | None = None,
        tcp_port: int | None = None,
        password: str | None = None,
        binaries: Binaries | None = None,
    ) -> None:
        self.account = server_account()
        self.folder, self._moved = reachable_folder(Path(folder), self.account)
        self.tcp_port = _free_port() if tcp_port == 0 else tcp_port
        self._settings = {**({} if durable else NOT_DURABLE), **(settings or {})}
        self._password = password
        self._binaries = binaries
        self._runs_on: Binaries | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None
        self._lock = process.FolderLock(self.folder / "lock")

    # -- what it is ----------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def _port(self) -> int:
        return PORT if self.tcp_port is None else self.tcp_port

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def origin(self) -> str:
        """Which binaries and why, run as whom, and where the data is if not where it was asked for."""
        user = f"run as user {self.account.name}" if self.account.switched else ""
        return "; ".join(part for part in (str(self._runs_on or "not started yet"), user, self._moved) if part)

    def url(self, database: str = "headcount", *, tcp_port: int | None = None) -> str:
        """Over the unix socket; with `tcp_port` over 127.0.0.1 and that port (its own, or a proxy's)."""
        if tcp_port is not None:
            user = "postgres" if self._password is None else f"postgres:{quote(self._password, safe='')}"
            return f"postgresql://{user}@127.0.0.1:{tcp_port}/{quote(database)}"
        if self._socket_folder is None:
            raise LocalServerError("The embedded Postgres is not running; start it before asking for its address.")
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self._socket_folder))}&port={self._port}"

    # -- its life ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers; a leftover of a crashed owner is stopped first.

        Raises LocalServerError when there are no binaries, when the folder is in use or was made by
        another version, or when the server ends at once (with the end of its log). Started already: no change.
        """
        if self.pid is not None:
            return
        self._runs_on = reachable_binaries(self._binaries or find_binaries(), self.account)
        self._prepare_folder()
        self._lock.take()
        try:
            process.stop_leftover(self.data)
            self._make_data(self._runs_on)
            self._write_access()
            self._socket_folder = self._make_socket_folder()
            self._run(self._runs_on)
            self._set_password()
            self._make_first_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it (fast: clients are cut off, their transactions rolled back) and free the folder."""
        self._halt()
        if self._socket_folder is not None and self._socket_folder.parent != self.folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        self._socket_folder = None
        self._lock.free()

    def crash(self) -> None:
        """Kill it with no chance to clean up, as the out-of-memory killer would. `start()` recovers it."""
        if self._child is not None:
            process.kill_child(self._child)
            self._child = None

    def restart(self) -> None:
        """Stop and start, on the same folder, socket and port."""
        self._halt()
        self.start()

    def _halt(self) -> None:
        if self._child is not None:
            process.stop_child(self._child)
            self._child = None

    # -- its databases -------------------------------------------------------------------------

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create it, as a copy of `template` if given (nobody may be connected to that); its URL."""
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        self._administer(statement)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop it, cutting off whoever is connected; no error if it does not exist."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _make_first_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'headcount'").fetchone()
        if not there:
            self.create_database("headcount")

    # -- the steps of a start ------------------------------------------------------------------

    def _prepare_folder(self) -> None:
        if self.folder.is_dir() and not (self.folder / "lock").exists() and any(self.folder.iterdir()):
            raise LocalServerError(f"{self.folder} is not empty and holds no server of ours. Choose another folder.")
        missing = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in missing if self.account.switched else []:
            folder.chmod(0o755)
        self.account.own(self.folder)

    def _make_data(self, binaries: Binaries) -> None:
        """Run initdb unless the folder has data; refuses data of another major version."""
        if self.data.exists():
            found = (self.data / "PG_VERSION").read_text().strip()
            if found != str(binaries.major):
                raise LocalServerError(
                    f"{self.data} was made by PostgreSQL {found}, but the binaries are {binaries}. "
                    f"Set HEADCOUNT_PG_BIN to those of {found}, or remove {self.folder} to start empty."
                )
            return
        partial = self.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with self.log.open("ab") as log:
            command: list[str | Path] = [binaries.folder / "initdb", "-D", partial, "-U", "postgres"]
            child = process.start_child([*command, *INITDB_OPTIONS], self.account, log)
        if child.wait() != 0:
            raise LocalServerError(f"initdb failed:\n{self._log_tail()}")
        partial.rename(self.data)

    def _write_access(self) -> None:
        """Who is asked for a password; at every start, for the data may have been made without one."""
        method = "trust" if self._password is None else "scram-sha-256"
        access = self.data / "pg_hba.conf"
        access.write_text(f"local all all trust\nhost all all 127.0.0.1/32 {method}\n")

    def _set_password(self) -> None:
        """Over the socket. Until then the role has none, and nobody gets in by a password."""
        if self._password is not None:
            self._administer(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(self._password)))

    def _make_socket_folder(self) -> Path:
        """Beside the data, so that it can be found again; under /tmp when that path is too long."""
        folder = self.folder / "socket"
        if len(str(folder / f".s.PGSQL.{self._port}").encode()) > LONGEST_SOCKET_PATH:
            folder = self._socket_folder or Path(tempfile.mkdtemp(prefix="headcount-", dir="/tmp"))
        folder.mkdir(mode=0o700, exist_ok=True)
        self.account.own(folder)
        return folder

    def _run(self, binaries: Binaries) -> None:
        """Start the server; again while the orphans of a crashed one still hold its memory."""
        until = time.monotonic() + START_SECONDS
        while True:
            begin = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as log:
                self._child = process.start_child(self._command(binaries), self.account, log)
            if process.wait_for_end(self._ready_or_ended, until - time.monotonic()) and self.pid is not None:
                return
            if self.pid is not None:
                raise LocalServerError(f"Postgres was not ready after {START_SECONDS:.0f} s:\n{self._log_tail(begin)}")
            if ORPHANS_STILL_THERE not in self._log_tail(begin):
                raise LocalServerError(f"Postgres ended at its start:\n{self._log_tail(begin)}")
            time.sleep(process.POLL_SECONDS)

    def _command(self, binaries: Binaries) -> list[str | Path]:
        listen = "127.0.0.1" if self.tcp_port is not None else ""
        settings: dict[str, str | int] = {"port": self._port, **self._settings}
        command: list[str | Path] = [binaries.folder / "postgres", "-D", self.data]
        command += ["-k", str(self._socket_folder), "-h", listen]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _ready_or_ended(self) -> bool:
        if self._child is None or self._child.poll() is not None:
            return True
        try:
            facts = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(facts) > 7 and facts[0] == str(self._child.pid) and facts[7].strip() == "ready"

    def _log_tail(self, begin: int = 0) -> str:
        with self.log.open("rb") as log:
            log.seek(begin)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-15:])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
