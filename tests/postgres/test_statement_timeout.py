"""The doctor finds a statement timeout that is too short, wherever it was set, and its command resets it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import psycopg
import pytest

from daemon.doctor import server, server_settings
from daemon.doctor.commands import database_in
from daemon.doctor.finding import Finding, Severity
from daemon.postgres.database import sync_engine

ROLE = "briefly"
SOURCES = {
    "user": "ALTER ROLE {role} SET",
    "database": "ALTER DATABASE {database} SET",
    "database user": "ALTER ROLE {role} IN DATABASE {database} SET",
}


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection, and a role for the doctor to log in as."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE}")
        yield connection
        connection.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


def carried_out(command: str, owner: psycopg.Connection) -> None:
    """Run the statements of a printed psql command."""
    program, _, *options = shlex.split(command)
    assert program == "psql"
    for option in options:
        owner.execute(option.removeprefix("--command=").encode())


def findings(url: str) -> list[Finding]:
    """What the doctor says of statement timeouts to a connection that is made now."""
    engine = sync_engine(url)
    try:
        with engine.connect() as connection:
            found = server_settings.check(connection, server.look_at(connection, url), emulated=False)
            return [finding for finding in found if "Statements are cancelled" in finding.what]
    finally:
        engine.dispose()


def logging_in_as(role: str, url: str) -> str:
    name = url.partition("://")[2].partition("@")[0]
    return url.replace(f"{name}@", f"{role}@", 1)


@pytest.mark.parametrize("source", SOURCES)
def test_a_short_statement_timeout_is_found_and_its_command_takes_it_back(
    source: str, database_url: str, owner: psycopg.Connection
) -> None:
    owner.execute(f"ALTER ROLE {ROLE} LOGIN")
    url = logging_in_as(ROLE, database_url)
    assert findings(url) == []
    statement = SOURCES[source].format(role=ROLE, database=database_in(database_url))
    owner.execute(f"{statement} statement_timeout = '9s'".encode())
    (found,) = findings(url)
    assert found.severity is Severity.LOSES_WORK
    assert found.what == f"Statements are cancelled after 9000 ms (set by: {source})."
    assert found.fix is not None
    carried_out(found.fix, owner)
    assert findings(url) == []


def test_one_in_the_urls_options_is_fixed_there(database_url: str) -> None:
    joint = "&" if "?" in database_url else "?"
    (found,) = findings(f"{database_url}{joint}options=-c%20statement_timeout%3D500")
    assert found.what == "Statements are cancelled after 500 ms (set by: client)."
    assert found.fix is not None
    assert "without statement_timeout in its options" in found.fix


@pytest.mark.parametrize("long", ["10s", "0"])
def test_a_long_one_and_none_at_all_are_no_finding(long: str, database_url: str, owner: psycopg.Connection) -> None:
    owner.execute(f"ALTER DATABASE {database_in(database_url)} SET statement_timeout = '{long}'".encode())
    assert findings(database_url) == []
