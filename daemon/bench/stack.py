"""The servers that are measured against, and a environment for each measurement: a database and topics of its own.

Used by every scenario. Postgres runs as durably as in production (fsync, full_page_writes, synchronous_commit on);
Pub/Sub is Headcount's own, in a process of its own, which does not wait as Google's emulator does.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psycopg
from google.cloud.pubsub_v1 import SubscriberClient
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1.types import Subscription

from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub_process import PubSubProcess
from daemon.postgres.migrations import upgrade
from daemon.pubsub.resources import desired, provision
from daemon.settings import load

TEMPLATE = "bench_template"
DURABLE: dict[str, str | int] = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SERVER: dict[str, str | int] = {
    **DURABLE,
    "max_connections": 400,
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "shared_preload_libraries": "pg_stat_statements",
}
SHOWN = ("server_version", "shared_buffers", "max_wal_size", "wal_level", "wal_sync_method", *DURABLE)
FAR = 86_400.0


@dataclass(frozen=True)
class Environment:
    """One measurement's own database and Pub/Sub project."""

    url: str
    project: str
    pubsub: str

    @property
    def database(self) -> str:
        """The name of its database."""
        return urlsplit(self.url).path.lstrip("/")

    @property
    def variables(self) -> dict[str, str]:
        """What points a worker or a client at it."""
        return {
            "HEADCOUNT_DATABASE_URL": self.url,
            "HEADCOUNT_PROJECT": self.project,
            "PUBSUB_EMULATOR_HOST": self.pubsub,
        }

    @property
    def topic(self) -> str:
        """Where jobs are published."""
        return f"projects/{self.project}/topics/jobs"

    @property
    def subscription(self) -> str:
        """Where the worker pulls from."""
        return f"projects/{self.project}/subscriptions/jobs-worker"

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the bench's own, each statement by itself."""
        return psycopg.connect(self.url, autocommit=True)

    def add_subscription(self, name: str) -> str:
        """One more subscription to the jobs: a baseline drains the very same messages."""
        path = f"projects/{self.project}/subscriptions/{name}"
        with SubscriberClient() as client:
            client.create_subscription(
                request=Subscription(name=path, topic=self.topic, ack_deadline_seconds=60, retain_acked_messages=True)
            )
        return path

    def hold_back(self, subscription: str) -> None:
        """What waits in it counts as done, until `release`."""
        self._seek(subscription, time.time() + FAR)

    def release(self, subscription: str) -> None:
        """Everything ever published waits in it again, at once."""
        self._seek(subscription, time.time() - FAR)

    def _seek(self, subscription: str, moment: float) -> None:
        with SubscriberClient() as client:
            client.seek(request={"subscription": subscription, "time": Timestamp(seconds=int(moment))})


class BenchStack:
    """Both servers in a temporary folder, between `with` and its end."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="headcount-bench-"))
        self._folder.chmod(0o711)
        self.logs = self._folder / "logs"
        self.postgres = EmbeddedPostgres(self._folder / "postgres", durable=True, settings=SERVER)
        self.pubsub = PubSubProcess(log=self._folder / "pubsub.log")
        self._running = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self.logs.mkdir()
            started.enter_context(self.postgres)
            started.enter_context(self.pubsub)
            os.environ["PUBSUB_EMULATOR_HOST"] = self.pubsub.address
            upgrade(self.postgres.create_database(TEMPLATE))
            self._running = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def environment(self, template: str = TEMPLATE) -> Environment:
        """A fresh database (a copy of `template`), topics and subscriptions."""
        number = next(self._numbers)
        url = self.postgres.create_database(f"bench_{number}", template)
        environment = Environment(url, f"bench-{number}", self.pubsub.address)
        with environment.connect() as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        asyncio.run(provision(desired(load(environment.variables))))
        with SubscriberClient() as client:
            client.update_subscription(
                request={
                    "subscription": Subscription(name=environment.subscription, retain_acked_messages=True),
                    "update_mask": {"paths": ["retain_acked_messages"]},
                }
            )
        return environment

    def drop(self, environment: Environment) -> None:
        """Give the space of a measurement back."""
        self.postgres.drop_database(environment.database)

    def settings(self) -> dict[str, str]:
        """What Postgres says of its own durability."""
        with psycopg.connect(self.postgres.url("postgres")) as connection:
            rows = connection.execute(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(SHOWN)]
            ).fetchall()
        return {str(name): str(value) for name, value in rows}
