"""Fixtures for the tests of daemon/postgres: a scene on a database that these tests share, emptied for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.postgres.database import async_engine
from tests.harness.databases import TestDatabases
from tests.postgres.scene import Scene


@pytest.fixture(scope="session")
def scene_url(databases: TestDatabases) -> Iterator[str]:
    """One migrated database for all scenes: making one takes longer than most of these tests."""
    url = databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
async def scene_engine(scene_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections for all scenes."""
    engine = async_engine(scene_url, 30)
    yield engine
    await engine.dispose()


@pytest.fixture
async def scene(scene_engine: AsyncEngine, scene_url: str) -> Scene:
    """An empty scene."""
    scene = Scene(scene_engine, scene_url)
    await scene.clear()
    return scene
