"""A worker's rights in the database, by deploy/grants.sql and by `migrate --worker-role`: enough, and no more."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from daemon.doctor.database import TABLES, check_database
from daemon.settings import load
from tests.harness.databases import TestDatabases
from tests.harness.worker import worker_environment
from tests.system.commands import typed

GRANTS = Path(__file__).resolve().parents[2] / "deploy" / "grants.sql"
ROLE = f"headcount-worker-{os.getpid()}@project.iam"
RIGHTS = """
SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = %s ORDER BY 1, 2
"""


def by_the_file(url: str) -> None:
    if shutil.which("psql"):
        command = ["psql", url, "--quiet", "--set=ON_ERROR_STOP=1", f"--set=worker={ROLE}"]
        subprocess.run([*command, f"--file={GRANTS}"], check=True)
    else:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute(GRANTS.read_text().replace(':"worker"', f'"{ROLE}"'))


def by_the_command(url: str) -> None:
    typed("migrate", f"--worker-role={ROLE}", environment=worker_environment(url, "p", ""))


@pytest.fixture(params=[by_the_file, by_the_command], ids=lambda way: way.__name__)
def grant(request: pytest.FixtureRequest, database_url: str) -> Iterator[Callable[[], str]]:
    """Grants in one of the two ways to a role with the name of a service account; gives that role's URL."""

    def granted() -> str:
        request.param(database_url)
        address = urlsplit(database_url).netloc.rpartition("@")[2]
        return urlsplit(database_url)._replace(netloc=f"{quote(ROLE)}@{address}").geturl()

    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f'CREATE ROLE "{ROLE}" LOGIN')
    yield granted
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f'DROP OWNED BY "{ROLE}"')
        owner.execute(f'DROP ROLE "{ROLE}"')


def test_the_grants_are_enough_for_a_worker(grant: Callable[[], str]) -> None:
    settings = load({}, database_url=grant(), project="p")
    assert [finding for finding in check_database(settings, 1) if " lacks " in finding.what] == []
    with psycopg.connect(settings.database_url.get_secret_value()) as worker:
        for table in TABLES:
            worker.execute(f"SELECT * FROM {table}")
        worker.execute(
            "INSERT INTO rejected_message (message_id, reason, text, data, attributes) VALUES ('1','','','','{}')"
        )


def test_the_grants_let_a_worker_change_no_table(grant: Callable[[], str]) -> None:
    with psycopg.connect(grant(), autocommit=True) as worker:
        for statement in (
            "DROP TABLE job",
            "ALTER TABLE job ADD COLUMN x int",
            "TRUNCATE job",
            "DELETE FROM headcount_schema",
            "CREATE TABLE x ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(statement)


def test_the_grants_hold_for_tables_of_later_migrations(grant: Callable[[], str], database_url: str) -> None:
    url = grant()
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE later (id int)")
    with psycopg.connect(url, autocommit=True) as worker:
        worker.execute("INSERT INTO later VALUES (1)")


def test_both_ways_grant_the_same(databases: TestDatabases) -> None:
    found = []
    for way in (by_the_file, by_the_command):
        url = databases.migrated()
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute(f'CREATE ROLE "{ROLE}" LOGIN')
            try:
                way(url)
                found.append(owner.execute(RIGHTS, (ROLE,)).fetchall())
            finally:
                owner.execute(f'DROP OWNED BY "{ROLE}"')
                owner.execute(f'DROP ROLE "{ROLE}"')
        databases.drop(url)
    assert found[0] == found[1]
    assert len(found[0]) > 20


def test_an_empty_database_is_migrated_and_granted_by_one_command(databases: TestDatabases) -> None:
    url = databases.empty()
    environment = worker_environment(url, "p", "")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f'CREATE ROLE "{ROLE}" LOGIN')
        try:
            shown = typed("migrate", f"--worker-role={ROLE}", environment=environment).stdout
            again = typed("migrate", f"--worker-role={ROLE}", environment=environment).stdout
            assert "applied 0001" in shown
            assert "up to date" in again
            assert f"granted {ROLE}" in shown
            assert owner.execute(RIGHTS, (ROLE,)).fetchall()
        finally:
            owner.execute(f'DROP OWNED BY "{ROLE}"')
            owner.execute(f'DROP ROLE "{ROLE}"')
    databases.drop(url)


def test_a_role_that_does_not_exist_is_named(database_url: str) -> None:
    environment = worker_environment(database_url, "p", "")
    told = typed("migrate", "--worker-role=nobody@p.iam", environment=environment, code=2)
    assert 'role "nobody@p.iam" does not exist' in told.stdout + told.stderr
