"""Session options: what every connection asks for, what the doctor says where they are missing, and what they do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from daemon.doctor import server, server_settings
from daemon.local.postgres import EmbeddedPostgres
from daemon.postgres.database import LOCK_SECONDS, SESSION, async_engine, passes, sync_engine
from daemon.postgres.timeout_connection import TimeoutConnection
from tests.harness.waiting import until

ROLE = "pooled"


@pytest.fixture
def direct(own_postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """A superuser's connection to a server that is reached by TCP."""
    with psycopg.connect(own_postgres.url(tcp_port=own_postgres.tcp_port), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN")
        yield connection


def found(url: str, pooler: str) -> list[str]:
    """The commands that the doctor prints about session options."""
    engine = sync_engine(url, pooler=pooler)
    try:
        with engine.connect() as connection:
            asked = replace(server.look_at(connection, url), role=ROLE)
            return [finding.fix for finding in server_settings.check_sessions(connection, asked)]
    finally:
        engine.dispose()


async def test_every_connection_asks_for_the_session_options(
    own_postgres: EmbeddedPostgres, direct: psycopg.Connection
) -> None:
    url = own_postgres.url(tcp_port=own_postgres.tcp_port)
    for hangs_up in (False, True):
        engine = async_engine(url, 1, hangs_up=hangs_up)
        async with engine.connect() as connection:
            given = {name: (await connection.execute(text(f"SHOW {name}"))).scalar() for name in SESSION}
            assert given == {**SESSION, "tcp_user_timeout": "30000"}  # which is shown without its unit
            lock = (await connection.execute(text("SHOW lock_timeout"))).scalar()
            assert lock == (f"{LOCK_SECONDS:.0f}s" if hangs_up else "0")
        await engine.dispose()
    assert found(url, "none") == []


def test_a_pooled_role_without_the_options_is_found_and_the_printed_command_gives_them_to_it(
    own_postgres: EmbeddedPostgres, direct: psycopg.Connection
) -> None:
    url = own_postgres.url(tcp_port=own_postgres.tcp_port).replace("postgres@", f"{ROLE}@", 1)
    (command,) = found(url, "transaction")
    program, login, *options = shlex.split(command)
    assert (program, len(options)) == ("psql", len(SESSION))
    with psycopg.connect(login, autocommit=True) as owner:  # the role may do this for itself
        for option in options:
            owner.execute(option.removeprefix("--command=").encode())
    assert found(url, "transaction") == []
    direct.execute(f"ALTER ROLE {ROLE} SET tcp_keepalives_idle = '600'")
    assert "tcp_keepalives_idle" in found(url, "transaction")[0]


async def test_a_server_process_that_waits_for_a_lock_ends_when_its_client_has_gone(database_url: str) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(database_url, autocommit=True) as watcher, psycopg.connect(database_url) as rival:
        rival.execute("LOCK TABLE job")

        def number() -> int:
            row = watcher.execute(waiting).fetchone()
            assert row is not None
            return int(row[0])

        engine = sync_engine(database_url)
        connection = engine.raw_connection()
        driver = connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        driver.pgconn.send_query(b"SELECT FROM job")
        await until(lambda: number() == 1)
        driver.pgconn.finish()
        await until(lambda: number() == 0, within=30, what="the server process has noticed")
        connection.invalidate()
        engine.dispose()


def _hangs(engine: Engine) -> None:
    """One exchange that the server does not answer in time."""
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, TimeoutConnection)
        raw.answer_timeout = 0.2
        connection.execute(text("SELECT pg_sleep(60)"))


def test_a_thread_opens_no_third_link_while_two_server_processes_may_still_wait(database_url: str) -> None:
    engine = sync_engine(database_url, hangs_up=True)
    for expected in ("lost|closed|terminat", "lost|closed|terminat", "two server processes did not answer"):
        with pytest.raises(OperationalError, match=expected) as failed:
            _hangs(engine)
        assert passes(failed.value)
    engine.dispose()
