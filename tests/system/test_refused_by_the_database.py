"""What the database refuses ends a command with a sentence and exit code 2, without SQL, values or a traceback."""

from __future__ import annotations

import psycopg
import pytest

from daemon.postgres.migrations import upgrade
from tests.harness.databases import TestDatabases
from tests.harness.worker import worker_environment
from tests.system.commands import typed

SECRET = "sk-live-4111111111111111"
NOBODY = "00000000-0000-0000-0000-000000000000"
KICK_OFF = ["kickoff", "checksum_file", "--param", f"api_key={SECRET}"]


def told(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


COMMANDS = [KICK_OFF, ["status", NOBODY], ["workers"], ["rejected", "list"], ["verify"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_missing_table_is_a_sentence(database_url: str, project: str, pubsub: str, words: list[str]) -> None:
    environment = worker_environment(database_url, project, pubsub)
    for table in ("job", "worker", "rejected_message"):
        told(database_url, f"ALTER TABLE {table} RENAME TO {table}_gone")
    done = typed(*words, environment=environment, code=None)
    assert SECRET not in done.stdout + done.stderr
    assert "SELECT" not in done.stderr + done.stdout
    assert done.returncode in (2, 3), done.stderr
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    if done.returncode == 2:
        assert "does not exist" in done.stderr
        assert done.stderr.splitlines()[-1].strip() == "headcount doctor --only database"


def test_a_missing_privilege_is_a_sentence(
    databases: TestDatabases, database_url: str, project: str, pubsub: str
) -> None:
    role = f"poor_{project.replace('-', '_')}"
    told(
        database_url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT SELECT ON headcount_schema, orchestration TO {role}",
    )
    try:
        environment = worker_environment(database_url.replace("postgres@", f"{role}@"), project, pubsub)
        for words in (KICK_OFF, ["workers"], ["retry", NOBODY]):
            done = typed(*words, environment=environment, code=None)
            assert done.returncode in (2, 3), done.stderr
            assert SECRET not in done.stdout + done.stderr
            assert len(done.stderr.splitlines()) <= 2, done.stderr
        assert "permission denied" in typed(*KICK_OFF, environment=environment, code=2).stderr
        told(database_url, f"REVOKE ALL ON headcount_schema FROM {role}")
        said = typed("run", environment=environment, code=None).stderr
        assert "permission denied" in said or "subscription" in said
    finally:
        told(database_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_run_refuses_a_database_that_is_not_utf8(databases: TestDatabases, project: str, pubsub: str) -> None:
    url = databases.empty()
    name = url.partition("?")[0].rpartition("/")[2]
    latin = url.replace(f"/{name}", f"/{name}_latin")
    told(url, f"CREATE DATABASE {name}_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        upgrade(latin)
        environment = worker_environment(latin, project, pubsub)
        typed("provision", environment=environment)
        done = typed("run", environment=environment, code=2)
        assert f"The database {name}_latin is encoded in LATIN1" in done.stderr
        assert f"createdb --encoding=UTF8 --template=template0 {name}_latin_utf8" in done.stderr
    finally:
        databases.drop(latin)
        databases.drop(url)


def test_results_of_rows_that_nest_too_deep_are_printed(database_url: str, project: str, pubsub: str) -> None:
    environment = worker_environment(database_url, project, pubsub)
    begun = typed("kickoff", "checksum_file", "--param", "a=1", environment=environment).stdout.strip()
    typed("cancel", begun, environment=environment)
    deep = '{"a":' * 1_000 + "1" + "}" * 1_000
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE job SET params = %s::json", [deep])
    results = ["results", begun, "--reveal"]
    for words in (results, ["results", begun, "--json"], ["explain", begun, "--reveal"], ["status", begun]):
        done = typed(*words, environment=environment, code=None)
        assert done.returncode in (0, 1), done.stderr
    assert "{" in typed(*results, environment=environment, code=None).stdout
