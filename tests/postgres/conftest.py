"""Fixtures for the tests of daemon/postgres: a scene on a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from daemon.postgres.database import async_engine
from tests.postgres.scene import Scene


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    engine = async_engine(database_url, 20)
    yield Scene(engine, database_url)
    await engine.dispose()
