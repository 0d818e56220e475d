"""`headcount demo` and `headcount dev`, end to end, as a newcomer runs them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.new import create
from tests.harness.waiting import eventually
from tests.system.commands import Session, asked, typed

REGISTERED = "the worker is registered"
BROKEN = "\n\nraise RuntimeError('broken on purpose')\n"
KICK_OFF = ("kickoff", "count_words", "--param", "text=one two two", "--json")
ODD = "odd [red] \n name ü.txt"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A kept folder for the local stack, which an embedded server's account can reach."""
    folder = Path(tempfile.mkdtemp(prefix="headcount-home-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def environment(home: Path) -> dict[str, str]:
    """Somebody's environment, with nothing of Headcount but where it keeps its data."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "HEADCOUNT_HOME": str(home), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 32 files, with some things that the demo leaves out."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "deep" / ".git").mkdir(parents=True)
    (folder / "deep" / ".git" / "config").write_text("left out")
    for number in range(30):
        (folder / "deep" / f"file-{number:02}.txt").write_text("line\n" * number)
    (folder / ODD).write_bytes(b"\0\xff no text")
    (folder / "empty").touch()
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    return folder


def demo(files: Path, here: Path, environment: dict[str, str], *options: str) -> dict[str, Any]:
    """What `headcount demo --json` says, run in the folder `here`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = typed("demo", str(files), "--json", *options, environment=environment, folder=here)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told: dict[str, Any] = json.loads(done.stdout)
    told["processor"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return told


@pytest.fixture(scope="module")
def first(
    files: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What the first demo on a machine said, and the folder it was run in."""
    here = tmp_path_factory.mktemp("first")
    return demo(files, here, environment), here


@pytest.fixture(scope="module")
def second(
    first: object, files: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the second one said, run with a failure and by two workers."""
    return demo(files, tmp_path_factory.mktemp("second"), environment, "--with-failure", "--workers", "2")


def test_the_demo_sums_every_file_and_a_subscriber_hears_both_events(first: tuple[dict[str, Any], Path]) -> None:
    told, _ = first
    assert "PostgreSQL" in told["postgres"]
    state = told["checksums"]
    assert (state["outcome"], state["total"], state["completed"], state["errored"]) == ("Completed", 32, 32, 0)
    assert told["failures"] == []
    sums, manifest = told["events"]
    expected = {
        "event_type": "JobCompleted",
        "job_name": "checksum_file",
        "orchestration_id": state["id"],
        "outcome": "Completed",
        "demo": "headcount",
    }
    assert expected.items() <= sums["attributes"].items()
    assert (sums["data"]["total"], sums["data"]["completed"]) == (32, 32)
    assert manifest["attributes"]["job_name"] == "build_manifest"
    assert manifest["data"]["orchestration_id"] == told["manifest"]["id"]
    assert sums["attributes"]["ce-id"] != manifest["attributes"]["ce-id"]


def test_the_manifest_holds_the_right_sums(first: tuple[dict[str, Any], Path], files: Path) -> None:
    manifest = json.loads((first[1] / "manifest.json").read_text())
    assert manifest["files"] == 32
    by_path = {entry["path"]: entry for entry in manifest["entries"]}
    assert list(by_path) == sorted(by_path)
    for path, entry in by_path.items():
        content = (files / path).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert (entry["size"], entry["lines"]) == (len(content), content.count(b"\n"))
    assert ODD in by_path


def test_with_failure_the_outcome_is_partial_and_the_demo_is_still_fine(second: dict[str, Any]) -> None:
    assert second["checksums"]["outcome"] == "Partial"
    (failure,) = second["failures"]
    assert failure["params"] == {"path": "a-file-that-does-not-exist"}
    assert failure["error"]["kind"] == "GaveUp"
    assert "No such file" in failure["error"]["message"]
    assert second["events"][0]["attributes"]["outcome"] == "Partial"
    assert second["manifest"]["outcome"] == "Completed"


def test_once_its_folder_is_there_the_demo_takes_less_than_fifteen_seconds(second: dict[str, Any]) -> None:
    """Of a processor, its servers and workers included: what it waits for one that others use is not its own."""
    assert 0 < second["processor"] < 15
    assert second["seconds"] < 15 or second["seconds"] < 10 * second["processor"], "it waits for something"


def test_a_person_reads_where_postgres_is_from_the_event_the_results_and_the_speed(
    files: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    done = typed("demo", str(files), "--with-failure", environment=environment, folder=tmp_path)
    assert "Postgres  PostgreSQL" in done.stderr
    for shown in ("JobCompleted", "ce-id", "1 failure", "32 successes", "jobs/s", "Partial: 33 instances"):
        assert shown in done.stdout
    assert str(tmp_path / "manifest.json") in done.stdout
    assert "\x1b" not in done.stdout, "colours belong on a terminal"


def test_the_demo_never_overwrites_a_manifest_that_is_not_its_own(
    files: Path, tmp_path: Path, environment: dict[str, str], home: Path
) -> None:
    theirs = tmp_path / "manifest.json"
    theirs.write_text('{"name": "my app"}')
    told = demo(files, tmp_path, environment)
    assert theirs.read_text() == '{"name": "my app"}'
    assert told["manifest"]["result"]["target"] == str(home / "demo" / "manifest.json")


def test_an_empty_folder_is_an_orchestration_of_nothing_and_is_fine(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "nothing").mkdir()
    told = demo(tmp_path / "nothing", tmp_path, environment)
    assert (told["checksums"]["total"], told["checksums"]["outcome"]) == (0, "Completed")


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Files that keep a worker busy for some seconds, and no room on the disk."""
    folder = tmp_path / "big"
    folder.mkdir()
    for number in range(40):
        with (folder / f"big-{number}").open("wb") as file:
            file.truncate(250 * 1024 * 1024)
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("moment", "number"),
    [("", signal.SIGINT), ("Postgres ", signal.SIGINT), ("Files ", signal.SIGINT), ("Files ", signal.SIGTERM)],
    ids=["at once", "while the worker starts", "while jobs run", "by SIGTERM"],
)
def test_ctrl_c_stops_everything_in_order_at_any_moment(
    big: Path, tmp_path: Path, environment: dict[str, str], moment: str, number: signal.Signals
) -> None:
    session = Session(["demo", str(big)], environment, tmp_path, tmp_path / "said.log")
    try:
        eventually(lambda: session.children, within=20, what="something is started")
        session.until_said(moment)
        session.interrupt(code=130, number=number)
    finally:
        session.end()


def test_a_demo_that_is_killed_leaves_no_process_behind(big: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    session = Session(["demo", str(big)], environment, tmp_path, tmp_path / "said.log")
    try:
        session.until_said("Files ")
        session.child.kill()
        session.child.wait()
        session.until_nothing_is_left()
    finally:
        session.end()


@pytest.fixture
def project_folder(home: Path) -> Iterator[Path]:
    """A repository made by `headcount new`, where an embedded server's account can go."""
    folder = home / "my-jobs"
    create(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def sourced(folder: Path) -> dict[str, str]:
    """The variables of `.headcount/env`, as a shell understands them."""
    script = "set -a; source .headcount/env; env -0"
    told = subprocess.run(["bash", "-c", script], cwd=folder, env={}, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in told.split("\0") if line and line.startswith(("HEADCOUNT_", "PUBSUB_")))


def done_as_the_readme_says(folder: Path, environment: dict[str, str]) -> str:
    """What the commands for another terminal print, typed as they stand in the repository's README."""
    virtual = folder / ".venv" / "bin"
    virtual.mkdir(parents=True)
    (virtual / "activate").write_text(f"export PATH={Path(sys.executable).parent}:$PATH\n")
    text = (folder / "README.md").read_text()
    script = text.partition("in another terminal:")[2].split("```bash\n")[1].split("```")[0]
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_dev_runs_my_handlers_and_starts_the_worker_again_when_i_save(
    project_folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    handler = project_folder / "handlers" / "count_words.py"
    working = handler.read_text()
    session = Session(["dev"], environment, project_folder, tmp_path / "said.log")
    try:
        session.until_said(REGISTERED)
        session.until_said("the API answers")
        assert "Completed" in done_as_the_readme_says(project_folder, environment)
        own = {**environment, **sourced(project_folder)}
        address = re.search(r"API +(http://\S+),", session.said)
        assert address is not None
        with urllib.request.urlopen(address[1], timeout=10) as answer:
            assert json.loads(answer.read())["items"]
        handler.write_text(working + BROKEN)
        session.until_said("broken on purpose")
        session.until_said("it starts again when you save")
        handler.write_text(working)
        assert asked(*KICK_OFF, "--wait", environment=own)["outcome"] == "Completed"
        session.interrupt(code=0)
    finally:
        session.end()


@pytest.mark.long
def test_dev_keeps_its_data_and_goes_on_with_the_jobs_that_waited(
    project_folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    handler = project_folder / "handlers" / "count_words.py"
    working = handler.read_text()
    handler.write_text(working + BROKEN)
    before = Session(["dev"], environment, project_folder, tmp_path / "before.log")
    try:
        before.until_said("it starts again when you save")
        waiting = asked(*KICK_OFF, environment={**environment, **sourced(project_folder)})["id"]
        before.interrupt(code=0, number=signal.SIGTERM)
    finally:
        before.end()

    handler.write_text(working)
    after = Session(["dev"], environment, project_folder, tmp_path / "after.log")
    try:
        after.until_said("1 of the last run's jobs still wait")
        own = {**environment, **sourced(project_folder)}
        assert asked("status", waiting, "--watch", "--json", environment=own)["outcome"] == "Completed"
        after.interrupt(code=0)
    finally:
        after.end()


def test_dev_without_handlers_says_how_to_get_some(home: Path, environment: dict[str, str]) -> None:
    empty = home / "empty"
    empty.mkdir()
    done = typed("dev", environment=environment, folder=empty, code=2)
    assert done.stderr.splitlines()[-1].strip() == "headcount new example && cd example"
    assert not (empty / ".headcount").exists()
