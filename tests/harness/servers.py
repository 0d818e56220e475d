"""Fixtures: one Postgres and one Pub/Sub a session, a database and a project id a test.

Loaded by tests/conftest.py. Servers start when a test first asks for one, so that tests which need
none stay instant. HEADCOUNT_TEST_DATABASE_URL takes another server than the embedded one.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub_process import PubSubProcess
from tests.harness.databases import TestDatabases

MANY_CONNECTIONS: dict[str, str | int] = {"max_connections": 300, "shared_buffers": "64MB", "max_wal_size": "2GB"}


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that the account of an embedded server can reach (pytest's own are closed to it)."""
    folder = Path(tempfile.mkdtemp(prefix="headcount-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[str]:
    """The URL of a server on which tests may create databases."""
    other = os.environ.get("HEADCOUNT_TEST_DATABASE_URL")
    if other:
        yield other
        return
    with EmbeddedPostgres(server_folder / "postgres", settings=MANY_CONNECTIONS) as server:
        yield server.url("postgres")


@pytest.fixture(scope="session")
def databases(postgres_server: str) -> Iterator[TestDatabases]:
    """Where a test gets more databases from: `.migrated()`, `.empty()`, `.drop(url)`."""
    from daemon.postgres.migrations import upgrade  # only now: tests without a database don't load sqlalchemy

    made = TestDatabases(postgres_server, upgrade)
    yield made
    made.drop_template()


@pytest.fixture
def database_url(databases: TestDatabases) -> Iterator[str]:
    """A fresh database of the test's own, with the newest schema: postgresql://..."""
    url = databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture
def empty_database_url(databases: TestDatabases) -> Iterator[str]:
    """A fresh database of the test's own with no tables at all."""
    url = databases.empty()
    yield url
    databases.drop(url)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A started server of the test's own, on a socket and on a TCP port, to crash and restart (0.6 s).

    Its database `headcount` is empty: `upgrade(own_postgres.url())` gives it the schema.
    """
    folder = Path(tempfile.mkdtemp(prefix="headcount-own-"))
    folder.chmod(0o711)
    with EmbeddedPostgres(folder / "postgres", settings=MANY_CONNECTIONS, tcp_port=0) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pubsub_server(server_folder: Path) -> Iterator[str]:
    """The address of the embedded Pub/Sub, shared by all tests: "127.0.0.1:PORT"."""
    with PubSubProcess(log=server_folder / "pubsub.log") as server:
        yield server.address


@pytest.fixture
def own_pubsub(tmp_path: Path) -> Iterator[PubSubProcess]:
    """A started Pub/Sub of the test's own, to crash and start again on the same port (0.7 s)."""
    with PubSubProcess(log=tmp_path / "pubsub.log") as server:
        yield server


@pytest.fixture
def project() -> str:
    """A project id of the test's own, so that tests share the Pub/Sub server but no topic."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def pubsub(pubsub_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The shared Pub/Sub's address, and every Google client of this process pointed at it."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_server)
    return pubsub_server
