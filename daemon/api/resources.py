"""What the routes work with: the client and the queries, opened with the application and closed with it.

Made by `app`; a route gets at it by its `Opened` parameter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request

from daemon.api.links import LinkKeys
from daemon.api.streams.reader import Reader
from daemon.client import Client
from daemon.postgres.database import async_engine
from daemon.postgres.links import Audit, Links
from daemon.postgres.live import LiveQueries
from daemon.postgres.queries import Queries
from daemon.settings import Settings
from daemon.telemetry.metrics.requests import RequestMetrics

CONNECTIONS = 5  # for what is asked, and as many for what is changed


@dataclass(frozen=True, slots=True)
class Resources:
    """The connections of one process."""

    client: Client
    queries: Queries
    reader: Reader
    links: Links
    audit: Audit
    keys: LinkKeys


@asynccontextmanager
async def opened(settings: Settings, metrics: RequestMetrics, stopping: Callable[[], bool]) -> AsyncIterator[Resources]:
    """Connections for as long as the application lives, and the reader of its streams; none is made before it is
    needed."""
    url = settings.database_url.get_secret_value()
    engine = async_engine(url, CONNECTIONS, settings.database_pooler, show_values=settings.log_values)
    own = async_engine(url, 1, settings.database_pooler, hangs_up=True)  # streams wait for no other request
    reader = Reader(LiveQueries(own).changes, Links(own).valid, stopping, metrics)
    queries, keys = Queries(engine, settings.worker_ttl_seconds), LinkKeys.of(settings)
    try:
        async with Client(settings, connections=CONNECTIONS) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(reader.run)
            yield Resources(client, queries, reader, Links(engine), Audit(engine), keys)
            tasks.cancel_scope.cancel()
    finally:
        await engine.dispose()
        await own.dispose()


def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


def caller_of(request: Request) -> str:
    """Who asks, for the audit."""
    return str(request.state.caller.name)


Opened = Annotated[Resources, Depends(_resources)]
