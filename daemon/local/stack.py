"""The local stack: a Postgres and a Pub/Sub of this machine's own, and the environment that points at them.

Called by `headcount demo` and `headcount dev`. It knows nothing of jobs or workers: it gives the same variables that
an operator sets in production, and whoever reads them can't tell the difference.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.local import LocalServerError
from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub_process import PubSubProcess

PROJECT = "local"
POSTGRES_PORT = 54329
PUBSUB_PORT = 8085


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Where local data is kept: HEADCOUNT_HOME, else the user's cache."""
    if environ.get("HEADCOUNT_HOME"):
        return Path(environ["HEADCOUNT_HOME"]).expanduser().absolute()
    cache = environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "headcount"


class LocalStack:
    """Both servers, between `with` and its end, in a folder that is kept for the next time.

    known_ports: also serve Postgres over TCP, and both on their well-known ports if these are free, so that an
    environment stays right from one run to the next; else Postgres has a unix socket and Pub/Sub any free port.
    password: what Postgres asks for over TCP.
    Pub/Sub is in memory: topics, subscriptions and messages end with it.
    """

    def __init__(self, folder: Path, *, known_ports: bool = False, password: str | None = None) -> None:
        self._folder = folder
        self._known_ports = known_ports
        port = port_near(POSTGRES_PORT) if known_ports else None
        self._postgres = EmbeddedPostgres(folder / "postgres", tcp_port=port, password=password)
        self._pubsub = PubSubProcess(port=port_near(PUBSUB_PORT) if known_ports else 0, log=folder / "pubsub.log")
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as started:
            # Somebody may take a well-known port between the look at it and the start: any other one will do then.
            try:
                started.enter_context(self._postgres)
            except LocalServerError:
                if not self._known_ports:
                    raise
                self._postgres.tcp_port = free_port()
                started.enter_context(self._postgres)
            try:
                started.enter_context(self._pubsub)
            except LocalServerError:
                if not self._known_ports:
                    raise
                self._pubsub = PubSubProcess(log=self._folder / "pubsub.log")
                started.enter_context(self._pubsub)
            self._running = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def postgres_origin(self) -> str:
        """Which Postgres this is, and where its binaries come from."""
        return self._postgres.origin

    @property
    def pubsub_address(self) -> str:
        """Where Pub/Sub listens."""
        return self._pubsub.address

    def empty_database(self, name: str) -> None:
        """Make a database with nothing in it, in the place of an older one of this name."""
        self._postgres.drop_database(name)
        self._postgres.create_database(name)

    def environment(self, database: str = "headcount") -> dict[str, str]:
        """The variables that point a worker, a client or any Google library at this stack."""
        port = self._postgres.tcp_port
        return {
            "HEADCOUNT_DATABASE_URL": self._postgres.url(database, tcp_port=port),
            "HEADCOUNT_PROJECT": PROJECT,
            "PUBSUB_EMULATOR_HOST": self.pubsub_address,
        }


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    return port_near(0)


def port_near(port: int) -> int:
    """This port of 127.0.0.1 if nobody listens on it, else any free one."""
    for wanted in (port, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            found: int = listener.getsockname()[1]
            return found
    raise LocalServerError("There is no free TCP port on 127.0.0.1.")
