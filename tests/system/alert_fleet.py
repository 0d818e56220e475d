"""A fleet of one real worker, watched by a real Prometheus whose alert rules wait and look back a fraction as long.

Used by the tests that put real faults before the alert rules. It knows how to bring work to the worker, to make rows
old and to ask which alerts fire; the faults themselves are the tests'.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import grpc
import psycopg
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub.control import Control
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, free_port, worker_environment
from tests.system.commands import typed
from tests.system.prometheus import Prometheus, scraping
from tests.system.quick_rules import quick_rules

USUAL_FACTOR = 60  # a minute of the rules is a second
LOAD_PAUSE = 0.1
SCRAPE_EVERY = "1s"
SILENCE = 3  # seconds: a scrape and an evaluation of what just happened lie in it


class Fleet:
    """One worker, its database, its topics, its Prometheus.

    postgres: the server of its database, if a fault may stop it. factor: how many times quicker the alerts' time runs.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        pubsub: str,
        *,
        postgres: EmbeddedPostgres | None = None,
        factor: int = USUAL_FACTOR,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.postgres = postgres
        self.database_url = database_url
        self.project = f"alerts-{uuid4().hex[:12]}"
        self.topic = f"projects/{self.project}/topics/jobs"
        self.events_topic = f"projects/{self.project}/topics/job-events"
        self.subscription = f"projects/{self.project}/subscriptions/jobs-worker"
        self._pubsub = pubsub
        self._factor = factor
        own = {"handlers": "tests.system.alert_jobs", "http_port": free_port(), **settings}
        self.environment = worker_environment(database_url, self.project, pubsub, **own)
        self._open = AsyncExitStack()
        self._load: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            await asyncio.to_thread(typed, "provision", environment=self.environment)
            channel = opened.enter_context(grpc.insecure_channel(self._pubsub))
            self._publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
            self.control = opened.enter_context(Control(self._pubsub))
            self.worker = await opened.enter_async_context(WorkerProcess(self.environment, self.folder))
            opened.push_async_callback(self.end_load)
            self.prometheus: Prometheus = opened.enter_context(self._watched())
            await until(lambda: self.number("headcount_slots"), within=20, what="the worker is scraped")
            self._open = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.__aexit__(kind, error, trace)  # the worker shows its log after a failure

    async def new_worker(self, **settings: object) -> None:
        """Another worker in the place of one that ended, at the same port, with some settings changed."""
        self.worker = await self._hired(settings)

    async def new_neighbour(self) -> WorkerProcess:
        """Another worker beside the first one, which no Prometheus watches."""
        return await self._hired({"http_port": free_port()})

    async def _hired(self, settings: Mapping[str, object]) -> WorkerProcess:
        changed = {f"HEADCOUNT_{name.upper()}": str(value) for name, value in settings.items()}
        return await self._open.enter_async_context(WorkerProcess({**self.environment, **changed}, self.folder))

    @contextmanager
    def _watched(self) -> Iterator[Prometheus]:
        with ExitStack() as opened:
            rules = quick_rules(self.folder, self._factor)
            yield opened.enter_context(scraping(self.worker.port, folder=self.folder, rules=rules, every=SCRAPE_EVERY))

    # -- work ----------------------------------------------------------------------------------

    async def publish(
        self, params: Mapping[str, object] | bytes, count: int = 1, *, topic: str = "", **attributes: str
    ) -> None:
        """Publish one job message, or the same several times, as a producer without a database does."""
        data = params if isinstance(params, bytes) else json.dumps(params).encode()
        await self.publish_all([{"data": data, "attributes": attributes}] * count, topic)

    async def publish_all(self, messages: Sequence[Mapping[str, object]], topic: str = "") -> None:
        """Publish these in one call, to the jobs' topic or to another one."""
        await asyncio.to_thread(self._publisher.publish, topic=topic or self.topic, messages=list(messages))

    async def kick_off(self, job_name: str, *options: str) -> str:
        """Start an orchestration by the command line; its id."""
        words = ("kickoff", job_name, *options, "--json")
        answer = await asyncio.to_thread(typed, *words, environment=self.environment)
        return str(json.loads(answer.stdout)["id"])

    def begin_load(self, params: Mapping[str, object] | bytes, count: int = 1, **attributes: str) -> None:
        """Publish the same again and again, ten times a second."""

        self.begin_again_and_again(lambda: self.publish(params, count, **attributes), LOAD_PAUSE)

    def begin_again_and_again(self, step: Callable[[], Awaitable[object]], pause: float) -> None:
        """Do something for as long as the load lasts."""

        async def load() -> None:
            while True:
                await step()
                await asyncio.sleep(pause)

        assert self._load is None, "there is a load already"
        self._load = asyncio.create_task(load())

    async def end_load(self) -> None:
        """Do it no more."""
        load, self._load = self._load, None
        if load is not None:
            load.cancel()
            await asyncio.wait({load})

    # -- rows ----------------------------------------------------------------------------------

    async def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database answers."""

        def ask() -> list[tuple[Any, ...]]:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                cursor = connection.execute(statement.encode(), values or None)
                return cursor.fetchall() if cursor.description else []

        return await asyncio.to_thread(ask)

    async def until_held(self, count: int = 1) -> None:
        """Wait until the worker holds so many jobs."""

        async def held() -> bool:
            ((jobs,),) = await self.rows("SELECT count(*) FROM job WHERE worker_id IS NOT NULL")
            return bool(jobs == count)

        await until(held, within=20, what=f"{count} jobs are held")

    # -- alerts --------------------------------------------------------------------------------

    async def until_fired(self, names: Collection[str], since: float, within: float = 60.0) -> None:
        """Wait until all of these have fired since that time."""

        async def fired() -> bool:
            if self._load is not None and self._load.done():
                self._load.result()
            assert set(names) <= (so_far := await self.fired_since(since)), f"{so_far} fired"
            return True

        await until(fired, within=within, what=f"{', '.join(names)} fire")

    async def until_silent(self, within: float = 120.0) -> None:
        """Wait until nothing has fired, nor been about to, for a few scrapes: what still waits would fire too late."""
        began = time.time()

        async def silent() -> bool:
            assert time.time() - began > SILENCE, "it is not silent for long enough"
            query = f"count by (alertname, alertstate) (count_over_time(ALERTS[{SILENCE}s]))"
            rows = await asyncio.to_thread(self.prometheus.rows, query)
            assert not rows, f"there are {[row['metric'] for row in rows]}"
            return True

        await until(silent, within=within, what="no alert fires or is about to")

    async def fired_since(self, began: float) -> set[str]:
        """All alerts that fired at any evaluation since that time."""
        window = max(1, int((time.time() - began) * 1000))
        query = f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{window}ms]))'
        rows = await asyncio.to_thread(self.prometheus.rows, query)
        return {row["metric"]["alertname"] for row in rows}

    async def number(self, query: str) -> float | None:
        return await asyncio.to_thread(self.prometheus.number, query)
