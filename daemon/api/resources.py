"""What the routes work with: the client and the queries, opened with the application and closed with it.

Made by `app`; a route gets at it by its `Opened` parameter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from daemon.client import Client
from daemon.postgres.database import async_engine
from daemon.postgres.queries import Queries
from daemon.settings import Settings

CONNECTIONS = 5  # for what is asked, and as many for what is changed


@dataclass(frozen=True, slots=True)
class Resources:
    """The connections of one process."""

    client: Client
    queries: Queries


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Resources]:
    """Connections for as long as the application lives; none is made before it is needed."""
    url = settings.database_url.get_secret_value()
    engine = async_engine(url, CONNECTIONS, settings.database_pooler, show_values=settings.log_values)
    try:
        async with Client(settings, connections=CONNECTIONS) as client:
            yield Resources(client, Queries(engine, settings.worker_ttl_seconds))
    finally:
        await engine.dispose()


def _resources(request: Request) -> Resources:
    resources: Resources = request.state.resources
    return resources


Opened = Annotated[Resources, Depends(_resources)]
