"""The doctor's judgement of a database's facts, and the commands that it prints."""

import shlex
from dataclasses import replace

import pytest

from daemon.doctor import capacity, server_settings
from daemon.doctor.capacity import Limit, too_small
from daemon.doctor.commands import as_owner, as_superuser, database_in, url_with
from daemon.doctor.finding import Severity
from daemon.doctor.server import Server, check_facts
from daemon.service.runtime import CONNECTIONS

URL = "postgresql://wor%40ker:secret@db.example:5433/jobs?sslmode=require&password=also"
GOOD = Server(
    url=URL,
    version=150_004,
    version_text="15.4",
    encoding="UTF8",
    standby=False,
    role="wor@ker",
    database="jobs",
    skew=0.2,
    cloud_sql=False,
)


def test_a_good_server_has_no_finding() -> None:
    assert list(check_facts(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "severity", "word"),
    [
        ({"version": 140_012, "version_text": "14.12"}, Severity.FATAL, "PostgreSQL 14.12"),
        ({"encoding": "LATIN1"}, Severity.LOSES_WORK, "encoded in LATIN1"),
        ({"standby": True}, Severity.FATAL, "points to a standby"),
        ({"skew": 9.0}, Severity.ADVICE, "9 s ahead of"),
        ({"skew": -6.0}, Severity.ADVICE, "6 s behind"),
    ],
)
def test_a_fact_that_is_wrong_is_named(change: dict[str, object], severity: Severity, word: str) -> None:
    (finding,) = check_facts(replace(GOOD, **change))  # type: ignore[arg-type]
    assert finding.severity is severity
    assert word in finding.what


def test_no_command_shows_a_password() -> None:
    for text in (url_with(URL), as_owner(URL, "own er", "SELECT 1"), as_superuser(URL, "SELECT 1")):
        assert "secret" not in text
        assert "also" not in text
    for finding in check_facts(replace(GOOD, standby=True, version=1)):
        assert "secret" not in str(finding)


def test_a_command_keeps_address_and_database_and_changes_who_asks() -> None:
    words = shlex.split(as_owner(URL, "own er", 'GRANT SELECT ON "job" TO "it\'s"'))
    assert words == [
        "psql",
        "postgresql://own%20er@db.example:5433/jobs?sslmode=require",
        '--command=GRANT SELECT ON "job" TO "it\'s"',
    ]
    assert url_with(URL) == "postgresql://wor%40ker@db.example:5433/jobs?sslmode=require"
    assert database_in(URL) == "jobs"


def test_what_concerns_the_server_is_done_beside_the_database() -> None:
    assert "@db.example:5433/postgres?" in as_superuser(URL, "ALTER SYSTEM RESET ALL")


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("database", 'ALTER DATABASE "jobs" RESET fsync'),
        ("user", 'ALTER ROLE "w" RESET fsync'),
        ("database user", 'ALTER ROLE "w" IN DATABASE "jobs" RESET fsync'),
        ("configuration file", "ALTER SYSTEM SET fsync = on"),
        ("client", "export HEADCOUNT_DATABASE_URL"),
        ("command line", "start the server without -c fsync"),
    ],
)
def test_a_setting_is_reset_where_it_was_made(source: str, word: str) -> None:
    assert word in server_settings.reset(replace(GOOD, role="w"), "fsync", source)


def test_the_doctor_counts_the_connections_that_a_worker_opens() -> None:
    heartbeat = 1
    assert CONNECTIONS + heartbeat == capacity.PER_INSTANCE


def test_room_for_the_pool_but_not_for_a_rollout_is_advice() -> None:
    assert too_small(Limit(12, "max_connections 15", "fix"), 2).severity is Severity.ADVICE
    assert too_small(Limit(7, "max_connections 10", "fix"), 2).severity is Severity.LOSES_WORK
