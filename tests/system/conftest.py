"""Fixtures that several files of the system tests share."""

from __future__ import annotations

import pytest

from tests.harness.worker import worker_environment
from tests.system.commands import on_path, typed


@pytest.fixture
def environment(database_url: str, project: str, pubsub_server: str) -> dict[str, str]:
    """A migrated database and a project with nothing in it; a file of tests may have an environment of its own."""
    return on_path(worker_environment(database_url, project, pubsub_server))


@pytest.fixture
def provisioned(environment: dict[str, str]) -> dict[str, str]:
    """The same, with topics and subscriptions."""
    typed("provision", environment=environment)
    return environment
