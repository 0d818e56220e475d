"""The shared fixtures themselves: each test has a database, a project and, if it wants, servers to crash."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from google.api_core.exceptions import NotFound
from google.cloud.pubsub_v1 import PublisherClient

from daemon.local.postgres import EmbeddedPostgres
from daemon.local.pubsub_process import PubSubProcess
from daemon.postgres.migrations import upgrade
from tests.harness.databases import TestDatabases
from tests.harness.worker import WorkerProcess


def count_of_jobs(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM job").fetchone()
    assert row is not None
    return int(row[0])


def test_a_tests_database_has_the_newest_schema_and_no_rows(database_url: str) -> None:
    assert count_of_jobs(database_url) == 0
    assert upgrade(database_url) == []


def test_two_databases_share_nothing(databases: TestDatabases, database_url: str) -> None:
    other = databases.migrated()
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute("CREATE TABLE only_there ()")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT to_regclass('only_there')").fetchone() == (None,)
    databases.drop(other)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(other)


def test_a_server_of_ones_own_keeps_its_schema_over_a_crash(own_postgres: EmbeddedPostgres) -> None:
    upgrade(own_postgres.url())
    own_postgres.crash()
    own_postgres.start()
    assert count_of_jobs(own_postgres.url()) == 0


@pytest.fixture
def publisher(pubsub: str) -> Iterator[PublisherClient]:
    with PublisherClient() as client:
        yield client


def test_projects_share_a_pubsub_server_but_no_topic(publisher: PublisherClient, project: str) -> None:
    publisher.create_topic(name=f"projects/{project}/topics/jobs")
    assert publisher.get_topic(topic=f"projects/{project}/topics/jobs").name.endswith("/jobs")
    with pytest.raises(NotFound):
        publisher.get_topic(topic=f"projects/{project}-other/topics/jobs")


def test_a_pubsub_of_ones_own_comes_back_empty_on_the_same_port(
    own_pubsub: PubSubProcess, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"projects/{project}/topics/jobs"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", own_pubsub.address)
    with PublisherClient() as client:
        client.create_topic(name=topic)
    address, pid = own_pubsub.address, own_pubsub.pid
    own_pubsub.crash()
    assert own_pubsub.pid is None
    own_pubsub.start()
    assert own_pubsub.address == address
    assert own_pubsub.pid != pid
    with PublisherClient() as client, pytest.raises(NotFound):
        client.get_topic(topic=topic)


async def test_a_worker_that_ends_at_once_fails_the_wait_with_its_log(tmp_path: Path) -> None:
    worker = WorkerProcess({"PATH": ""}, tmp_path, handlers_in=tmp_path)  # no daemon on its path, or no settings
    with pytest.raises(AssertionError, match=r"ended with exit code [12]:\n.*\w"):
        async with worker:
            pytest.fail("it was never ready")
    assert worker.exit_code in (1, 2)
