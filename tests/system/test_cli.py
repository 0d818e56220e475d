"""The command line on real servers: the way from a kick-off to its results, and what can't be understood."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.harness.waiting import eventually
from tests.harness.worker import REPOSITORY, WorkerProcess, worker_environment
from tests.system.commands import Session, asked, typed

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def pool(provisioned: dict[str, str], tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """An environment in which a worker of this repository's handlers runs."""
    worker = WorkerProcess(provisioned, tmp_path)
    worker.start()
    try:
        await worker.until_ready()
        yield provisioned
    finally:
        worker.kill()


def lines(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def test_from_kickoff_to_results_with_codes_that_say_whether_all_went_well(
    pool: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "params.jsonl"
    file.write_text(lines({"path": "pyproject.toml"}, {"path": "nothing-here"}) + "\n" + lines({"path": "Makefile"}))

    printed = typed("kickoff", "checksum_file", "--params", str(file), "--tag", "customer=7", environment=pool)
    (orchestration_id,) = printed.stdout.splitlines()
    assert f"headcount status {orchestration_id} --watch" in printed.stderr

    state = asked("status", orchestration_id, "--watch", "--json", environment=pool, code=1)
    assert (state["outcome"], state["total"], state["completed"], state["errored"]) == ("Partial", 3, 2, 1)
    assert state["tags"] == {"customer": "7"}

    streamed = typed("results", orchestration_id, "--json", environment=pool, code=1).stdout.splitlines()
    results = {one["index"]: one for one in map(json.loads, streamed)}
    assert results[0]["params"] == {"path": "pyproject.toml"}
    assert results[0]["result"]["size"] == (REPOSITORY / "pyproject.toml").stat().st_size
    assert results[1]["status"] == "Errored"
    assert results[1]["error"]["kind"] == "GaveUp"
    assert results[2]["status"] == "Completed"

    (failed,) = typed("results", orchestration_id, "--failed", environment=pool, code=1).stdout.splitlines()
    assert '{"path": "nothing-here"}' in failed
    assert "Partial" in typed("status", orchestration_id, environment=pool, code=1).stdout


def test_waiting_for_one_instance_prints_what_came_of_it(pool: dict[str, str]) -> None:
    fine = typed("kickoff", "checksum_file", "--param", "path=Makefile", "--wait", environment=pool)
    assert "1 instance: 1 Completed" in fine.stdout
    failed = typed("kickoff", "checksum_file", "--param", "path=nothing", "--wait", environment=pool, code=1)
    assert "GaveUp" in failed.stdout
    told = asked("kickoff", "checksum_file", "--param", "path=nothing", "--wait", "--json", environment=pool, code=1)
    assert told["outcome"] == "Errored"
    assert told["failures"][0]["params"] == {"path": "nothing"}


def test_params_are_read_from_standard_input(pool: dict[str, str]) -> None:
    given = lines(*({"path": "Makefile"} for _ in range(300)))
    told = asked("kickoff", "checksum_file", "--params", "-", "--wait", "--json", environment=pool, given=given)
    assert (told["total"], told["completed"]) == (300, 300)


def test_the_same_key_gives_the_first_orchestration_back(environment: dict[str, str]) -> None:
    words = ("kickoff", "checksum_file", "--param", "path=x", "--key", "order-1", "--json")
    first = asked(*words, environment=environment)
    assert asked(*words, environment=environment)["id"] == first["id"]
    said = typed("kickoff", "other_job", "--key", "order-1", environment=environment, code=2).stderr
    assert first["id"] in said


def test_a_deadline_and_a_later_start_are_stored(environment: dict[str, str]) -> None:
    words = ("kickoff", "checksum_file", "--deadline", "10m", "--start-at", "+5m", "--json")
    state = asked(*words, environment=environment)
    assert state["deadline"] is not None
    assert state["completed_at"] is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{}\nno json\n", "line 2 of standard input is not JSON"),
        ("{}\n\n[1]\n", "line 3 of standard input is not a JSON object"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_kicked_off(environment: dict[str, str], given: str, reason: str) -> None:
    said = typed("kickoff", "checksum_file", "--params", "-", environment=environment, given=given, code=2).stderr
    assert reason in said
    assert orchestrations(environment) == 0


def orchestrations(environment: dict[str, str]) -> int:
    """How many orchestrations the database holds."""
    with psycopg.connect(environment["HEADCOUNT_DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM orchestration").fetchone()
    assert row is not None
    return int(row[0])


WRONG: list[list[str]] = [
    ["kickoff"],
    ["kickoff", "checksum_file", "--params", "no-such-file.jsonl"],
    ["kickoff", "checksum_file", "--params", "-", "--param", "a=b"],
    ["kickoff", "checksum_file", "--tag", "no-value"],
    ["kickoff", "checksum_file", "--deadline", "soon"],
    ["kickoff", "not\na name"],
    ["status", "not-an-id"],
    ["no-such-command"],
    ["demo", "/no/such/folder"],
    ["new", "."],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_can_not_be_understood_ends_with_2(words: list[str]) -> None:
    nowhere = worker_environment("postgresql://127.0.0.1:1/nothing", "nothing", "127.0.0.1:1")
    assert "database" not in typed(*words, environment=nowhere, code=2).stderr


def test_an_id_that_nothing_has_ends_with_3(environment: dict[str, str]) -> None:
    for words in (["status", NOBODY], ["results", NOBODY], ["status", NOBODY, "--watch", "--json"]):
        done = typed(*words, environment=environment, code=3)
        assert NOBODY in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(
    "words", [["kickoff", "checksum_file", "--wait"], ["status", "--watch"], ["results"]], ids=" ".join
)
def test_ctrl_c_while_waiting_ends_with_130(environment: dict[str, str], tmp_path: Path, words: list[str]) -> None:
    unfinished = asked("kickoff", "checksum_file", "--json", environment=environment)["id"]
    if words[0] != "kickoff":
        words = [words[0], unfinished, *words[1:]]
    session = Session(words, {**environment, "PYTHONFAULTHANDLER": "1"}, REPOSITORY, tmp_path / "said.log")
    try:
        eventually(lambda: _is_connected(session.child.pid), within=20, what="connected")
        session.interrupt(code=130)
    finally:
        session.end()


def test_waiting_for_what_nobody_runs_says_how_to_find_out_why(environment: dict[str, str], tmp_path: Path) -> None:
    session = Session(["kickoff", "checksum_file", "--wait"], environment, REPOSITORY, tmp_path / "said.log")
    try:
        session.until_said("nothing has started yet; to see why: headcount explain ")
        session.interrupt(code=130)
    finally:
        session.end()


def _is_connected(pid: int) -> bool:
    return any("psycopg" in one.path for one in psutil.Process(pid).memory_maps()) and bool(
        psutil.Process(pid).net_connections("all")
    )


def test_a_reader_that_goes_away_is_no_traceback(pool: dict[str, str]) -> None:
    given = lines(*({"path": "Makefile"} for _ in range(500)))
    told = asked("kickoff", "checksum_file", "--params", "-", "--wait", "--json", environment=pool, given=given)
    script = f"headcount results {told['id']} --json | head -n 1"
    done = subprocess.run(["bash", "-c", script], env=pool, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)
    assert "Traceback" not in done.stderr


# --- the frame -----------------------------------------------------------------------------------------------------


def test_help_costs_little_and_names_the_exit_codes(environment: dict[str, str]) -> None:
    typed("--help", environment=environment)  # the first time compiles

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    said = " ".join(typed("--help", environment=environment).stdout.split())
    assert spent() - before < 2 * 0.6 * _slowness()  # 0.5 s on a quiet machine
    for code in ("0 fine", "130 interrupted"):
        assert code in said


def _slowness() -> float:
    """How much slower this machine is now than the one that the limit is meant for; never below 1."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    sum(range(2_000_000))
    return max(1.0, (resource.getrusage(resource.RUSAGE_SELF).ru_utime - before) / 0.05)


def test_the_version_is_that_of_the_package(environment: dict[str, str]) -> None:
    assert typed("--version", environment=environment).stdout == f"headcount {version('headcount')}\n"


def test_a_shell_completes_commands(environment: dict[str, str]) -> None:
    asking = {**environment, "_HEADCOUNT_COMPLETE": "complete_bash", "COMP_WORDS": "headcount kick", "COMP_CWORD": "1"}
    done = subprocess.run(["headcount"], env=asking, capture_output=True, text=True, check=False)
    assert "kickoff" in done.stdout


def test_the_command_works_in_a_folder_that_has_a_daemon_of_its_own(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "__init__.py").write_text("raise ImportError('the wrong one')")
    environment = {**environment, "PYTHONPATH": ""}
    done = subprocess.run(["headcount", "--help"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
