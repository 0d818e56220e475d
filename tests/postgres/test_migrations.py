"""Migrations: from nothing, again, at the same time, back; and what is said about a schema of another release."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from daemon.errors import DatabaseNotReady
from daemon.postgres import migrations
from daemon.postgres.database import sync_engine
from daemon.postgres.migrations import upgrade
from daemon.postgres.schema_version import check_database, pending, revisions, unknown
from tests.harness.worker import free_port

ALL = list(revisions())
NEWEST = ALL[-1]


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Engine]:
    engine = sync_engine(empty_database_url)
    yield engine
    engine.dispose()


def _url(engine: Engine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def _tables(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        return set(connection.execute(text(names)).scalars())


def _pretend(engine: Engine, revision: str, suits: str = "0001") -> None:
    with engine.begin() as connection:
        connection.execute(text(f"COMMENT ON TABLE headcount_schema IS 'suits releases from {suits} on'"))
        connection.execute(text("UPDATE headcount_schema SET version_num = :revision"), {"revision": revision})


def test_a_database_without_tables_gets_them_all_and_is_ready(empty: Engine) -> None:
    assert upgrade(_url(empty)) == ALL
    assert {"orchestration", "job", "worker", "failed_attempt", "headcount_schema"} <= _tables(empty)
    check_database(empty)


def test_migrating_again_changes_nothing(empty: Engine) -> None:
    upgrade(_url(empty))
    before = _tables(empty)
    assert upgrade(_url(empty)) == []
    assert _tables(empty) == before


def test_of_several_that_migrate_at_the_same_time_one_does_the_work(empty: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(upgrade, [_url(empty)] * 4))
    assert sorted(map(len, applied)) == [0, 0, 0, len(ALL)]
    check_database(empty)


def test_the_way_back_leaves_nothing_and_the_way_forward_works_again(empty: Engine) -> None:
    upgrade(_url(empty))
    with empty.connect() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
    assert _tables(empty) == {"headcount_schema"}
    assert upgrade(_url(empty)) == ALL


def test_a_database_without_tables_is_not_ready_and_the_command_that_fixes_it_is_named(empty: Engine) -> None:
    with pytest.raises(DatabaseNotReady, match=f"lacks the migrations .*{NEWEST}") as refused:
        check_database(empty)
    assert refused.value.fix == "headcount migrate"
    with empty.connect() as connection:
        assert pending(connection) == ALL
        assert unknown(connection) is None


def test_a_schema_that_was_only_expanded_since_suits_this_release(empty: Engine) -> None:
    upgrade(_url(empty))
    _pretend(empty, "9999")
    check_database(empty)


def test_any_role_may_call_the_guards_also_where_functions_are_closed_by_default(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"))
    upgrade(_url(empty))
    with empty.connect() as connection:
        granted = "SELECT has_function_privilege('pg_monitor', 'headcount_require(boolean, text)', 'EXECUTE')"
        assert connection.execute(text(granted)).scalar_one()


def test_a_schema_that_was_contracted_since_is_refused_by_name(empty: Engine) -> None:
    upgrade(_url(empty))
    _pretend(empty, "9999", suits="9998")
    with pytest.raises(DatabaseNotReady, match="at migration 9999, which this release does not know"):
        check_database(empty)
    with empty.connect() as connection:
        assert (unknown(connection), pending(connection)) == ("9999", [])


def test_migrating_a_schema_of_a_newer_release_is_refused_in_the_same_words(empty: Engine) -> None:
    upgrade(_url(empty))
    _pretend(empty, "9999")
    with pytest.raises(DatabaseNotReady, match="at migration 9999, which this release does not know"):
        upgrade(_url(empty))


def test_a_database_that_is_not_there_is_refused_in_one_sentence() -> None:
    engine = sync_engine(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(DatabaseNotReady, match=r"The database can't be reached: .*refused") as refused:
        check_database(engine)
    assert "\n" not in str(refused.value)
    with pytest.raises(DatabaseNotReady, match="could not be migrated"):
        upgrade(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    engine.dispose()


def test_a_migration_that_failed_leaves_nothing_half_done(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE worker (id int)"))
    with pytest.raises(DatabaseNotReady, match="already exists"):
        upgrade(_url(empty))
    assert "orchestration" not in _tables(empty)


def test_the_lock_is_given_up_after_a_migration(empty: Engine) -> None:
    upgrade(_url(empty))
    with empty.connect() as connection:
        locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        mine = f"{locks} WHERE d.datname = current_database() AND locktype = 'advisory'"
        assert connection.execute(text(mine)).scalar() == 0


def test_rejected_messages_under_an_old_reason_are_renamed(empty: Engine) -> None:
    config = migrations._config()
    with empty.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.commit()
    with empty.begin() as connection:
        for number, reason in enumerate(("ParamsNoJson", "ParamsNoObject", "ParamsHoldNul", "BadUuid")):
            row = {"id": str(number), "reason": reason}
            columns = "message_id, reason, text, data, attributes"
            insert = f"INSERT INTO rejected_message ({columns}) VALUES (:id, :reason, '', '', '{{}}')"
            connection.execute(text(insert), row)
    upgrade(_url(empty))
    with empty.connect() as connection:
        reasons = connection.execute(text("SELECT reason FROM rejected_message ORDER BY id")).scalars().all()
    assert reasons == ["InvalidJson", "ParamsNotObject", "ParamsContainNul", "BadUuid"]


def test_the_files_names_and_alembic_agree_on_which_migrations_there_are_and_in_which_order() -> None:
    chain = ScriptDirectory.from_config(migrations._config()).walk_revisions()
    assert [one.revision for one in chain] == ALL[::-1]
