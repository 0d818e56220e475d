"""What a chaos run runs on: a Postgres to crash, a Pub/Sub to stop, a project with its topics, an attempt log.

Used by every scenario, between `with` and its end. It knows where things are and how they are started, and nothing
of what the scenarios do to them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import psycopg

from daemon.client import Client
from daemon.inspection import Violation
from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub.control import Control
from daemon.local.pubsub_process import PubSubProcess
from daemon.postgres.database import async_engine
from daemon.postgres.migrations import upgrade
from daemon.postgres.sweep import verify
from daemon.pubsub.resources import desired, provision
from daemon.settings import Settings, load
from tests.chaos import attempt_log
from tests.chaos.faulty_proxy import FaultPlan, FaultyProxy
from tests.chaos.proxy import Proxy
from tests.harness.worker import worker_environment

# fsync is off as in every embedded server, which a killed process does not notice; a lost commit it would.
POSTGRES: dict[str, str | int] = {"max_connections": 100, "synchronous_commit": "on", "max_wal_size": "2GB"}
EMULATOR = "PUBSUB_EMULATOR_HOST"


class Stack:
    """Both servers and what workers need to find them.

    hostile: the seed of a Pub/Sub that duplicates, reorders and redelivers. proxied: the workers reach Postgres only
    through `proxy`. faults: the same, over a network that is as bad as the plan says. republish_after: in seconds, for
    producers. at: the address of a Pub/Sub that somebody else runs and has pointed this process at.
    """

    def __init__(
        self,
        *,
        hostile: int | None = None,
        proxied: bool = False,
        faults: FaultPlan | None = None,
        at: str | None = None,
        postgres: dict[str, str | int] | None = None,
        republish_after: float | None = None,
    ) -> None:
        self.project = f"chaos-{uuid4().hex[:12]}"
        self._hostile = hostile
        self._proxied = proxied or faults is not None
        self._faults = faults
        self._at = at
        self._postgres_settings = {**POSTGRES, **(postgres or {})}
        self._republish_after = republish_after
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self.folder = Path(tempfile.mkdtemp(prefix="headcount-chaos-"))
            opened.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.folder.chmod(0o711)
            self.attempt_log = self.folder / "attempt_log"
            self.attempt_log.touch()
            self.postgres: EmbeddedPostgres = opened.enter_context(
                EmbeddedPostgres(self.folder / "postgres", settings=self._postgres_settings, tcp_port=0)
            )
            upgrade(self.postgres.url())
            if self._proxied:
                assert self.postgres.tcp_port is not None
                target = self.postgres.tcp_port
                proxy = Proxy(target) if self._faults is None else FaultyProxy(target, self._faults)
                self.proxy = opened.enter_context(proxy)
            if self._at is None:
                options = () if self._hostile is None else ("--hostile", str(self._hostile))
                self.pubsub = PubSubProcess(log=self.folder / "pubsub.log", options=options)
                opened.enter_context(self.pubsub)
            self.control = opened.enter_context(Control(self.pubsub_address))
            if self._at is None:
                opened.enter_context(pointed_at(self.pubsub_address))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def pubsub_address(self) -> str:
        return self._at or self.pubsub.address

    @property
    def database_url(self) -> str:
        """How the checks and the producers reach Postgres: never through the proxy."""
        return self.postgres.url(tcp_port=self.postgres.tcp_port)

    @property
    def workers_database_url(self) -> str:
        return self.postgres.url(tcp_port=self.proxy.port) if self._proxied else self.database_url

    @property
    def faulty_proxy(self) -> FaultyProxy:
        assert isinstance(self.proxy, FaultyProxy), "the stack was made without `faults`"
        return self.proxy

    def settings(self, *, as_workers: bool = False) -> Settings:
        """The settings of a producer; `as_workers` reaches Postgres as they do."""
        url = self.workers_database_url if as_workers else self.database_url
        variables = {"HEADCOUNT_DATABASE_URL": url, "HEADCOUNT_PROJECT": self.project}
        if self._republish_after is not None:
            variables["HEADCOUNT_REPUBLISH_AFTER_SECONDS"] = str(self._republish_after)
        return load(variables)

    def client(self, *, as_workers: bool = False, connections: int = 2) -> Client:
        return Client(self.settings(as_workers=as_workers), connections=connections)

    def environment(self, **settings: object) -> dict[str, str]:
        """The environment of a worker with the handlers of the chaos runs."""
        plain = worker_environment(
            self.workers_database_url,
            self.project,
            self.pubsub_address,
            **{"handlers": "tests.chaos.handlers", "slots": 20, **settings},
        )
        return {**plain, attempt_log.VARIABLE: str(self.attempt_log)}

    def take_over(self, postgres: EmbeddedPostgres) -> None:
        """Another server has the data now."""
        self.postgres = self._open.enter_context(postgres)

    async def provision(self) -> None:
        """Make the topics and subscriptions."""
        await provision(desired(self.settings()))

    def entries(self) -> list[attempt_log.Entry]:
        """What the handlers have written."""
        return attempt_log.read(self.attempt_log)

    def rows(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """The answer of the database to a question."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(question.encode(), values or None).fetchall()

    def number(self, question: str, *values: object) -> int:
        """The one number that answers a question."""
        return int(self.rows(question, *values)[0][0])

    def repairs(self) -> int:
        """How often a sweeper had to repair something: any is a bug."""
        return self.number("SELECT count(*) FROM repair")

    def given_back(self) -> int:
        """Attempts that a living worker held without running them, and gave back."""
        return self.number("SELECT count(*) FROM failed_attempt WHERE message LIKE '%gave it back'")

    async def violations(self, worker_ttl: float) -> list[Violation]:
        """Every broken invariant of the database."""
        engine = async_engine(self.database_url, 1)
        try:
            return await verify(engine, worker_ttl)
        finally:
            await engine.dispose()

    def attempts(self, job_ids: Sequence[UUID]) -> list[attempt_log.Entry]:
        """The begins of some jobs."""
        wanted_ids = {str(one) for one in job_ids}
        return [entry for entry in self.entries() if entry.kind == "begin" and entry.job_id in wanted_ids]


@contextmanager
def pointed_at(pubsub: str) -> Iterator[None]:
    """Every Google client made meanwhile in this process talks to this Pub/Sub."""
    before = os.environ.get(EMULATOR)
    os.environ[EMULATOR] = pubsub
    try:
        yield
    finally:
        os.environ.pop(EMULATOR)
        if before is not None:
            os.environ[EMULATOR] = before
