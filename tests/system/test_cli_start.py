"""Commands that start something: every refusal, and the command that fixes it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.harness.waiting import eventually
from tests.harness.worker import REPOSITORY, free_port, worker_environment
from tests.system.commands import asked, on_path, typed

NOBODY = "00000000-0000-0000-0000-000000000000"


def refusal(environment: dict[str, str], folder: Path = REPOSITORY) -> tuple[str, str]:
    """The sentence and the command with which `headcount run` refuses."""
    done = typed("run", environment=environment, folder=folder, code=2)
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith('{"')]
    assert len(lines) == 2, done.stderr
    assert lines[0].endswith(".")
    assert lines[0].count(". ") == 0, "one sentence"
    return lines[0], lines[1].strip()


def becomes_ready_after(command: str, environment: dict[str, str], folder: Path, log: Path) -> None:
    """Type the command in a shell, start a worker in that shell, and see it ready."""
    port = free_port()
    environment = {**environment, "HEADCOUNT_HTTP_PORT": str(port)}
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-c", f"{command} && exec headcount run"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: _ready(port) or shell.poll() is not None, within=40, what="ready")
        assert shell.poll() is None, log.read_text()
        shell.send_signal(signal.SIGTERM)
        assert shell.wait(15) == 0, log.read_text()
    finally:
        shell.kill()
        shell.wait()


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_without_migrations_run_refuses_and_its_command_fixes_it(
    empty_database_url: str, project: str, pubsub_server: str, tmp_path: Path
) -> None:
    environment = on_path(worker_environment(empty_database_url, project, pubsub_server))
    typed("provision", environment=environment)
    sentence, command = refusal(environment)
    assert "migration" in sentence
    assert command == "headcount migrate"
    becomes_ready_after(command, environment, REPOSITORY, tmp_path / "log")


def test_without_topics_and_subscription_run_refuses_and_its_command_fixes_it(
    environment: dict[str, str], project: str, tmp_path: Path
) -> None:
    sentence, command = refusal(environment)
    assert f"projects/{project}/topics/jobs does not exist" in sentence
    assert f"projects/{project}/subscriptions/jobs-worker does not exist" in sentence
    assert command == "headcount provision"
    becomes_ready_after(command, environment, REPOSITORY, tmp_path / "log")


def test_with_an_unknown_setting_run_refuses_and_its_command_fixes_it(
    provisioned: dict[str, str], tmp_path: Path
) -> None:
    mistyped = {**provisioned, "HEADCOUNT_SLOT": "3"}
    sentence, command = refusal(mistyped)
    assert "HEADCOUNT_SLOT is not a setting" in sentence
    assert "HEADCOUNT_SLOTS" in sentence
    assert command == "unset HEADCOUNT_SLOT"
    becomes_ready_after(command, mistyped, REPOSITORY, tmp_path / "log")


def test_without_handlers_run_refuses_and_its_command_fixes_it(provisioned: dict[str, str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    provisioned = {**provisioned, "PYTHONPATH": ""}
    sentence, command = refusal(provisioned, empty)
    assert "There is no handler package 'handlers'" in sentence
    assert command == "headcount new example && cd example"
    becomes_ready_after(command, provisioned, empty, tmp_path / "log")


def test_every_wrong_setting_is_named_at_once(environment: dict[str, str]) -> None:
    wrong = {**environment, "HEADCOUNT_SLOTS": "many", "HEADCOUNT_NONSENSE": "1"}
    del wrong["HEADCOUNT_PROJECT"]
    said = typed("run", environment=wrong, code=2).stderr
    for name in ("HEADCOUNT_SLOTS", "HEADCOUNT_NONSENSE", "HEADCOUNT_PROJECT"):
        assert name in said


def test_a_database_that_does_not_answer_is_a_sentence_for_every_command(environment: dict[str, str]) -> None:
    away = {**environment, "HEADCOUNT_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{free_port()}/nothing"}
    for words in (["migrate"], ["status", NOBODY], ["kickoff", "checksum_file"], ["results", NOBODY]):
        said = typed(*words, environment=away, code=2).stderr
        assert "database" in said, words
        assert len(said.strip().splitlines()) <= 2, said


def test_a_database_without_tables_is_answered_with_the_command_that_makes_them(
    empty_database_url: str, project: str, pubsub_server: str
) -> None:
    environment = worker_environment(empty_database_url, project, pubsub_server)
    said = typed("status", NOBODY, environment=environment, code=2).stderr
    assert said.splitlines()[-1].strip() == "headcount migrate"


def test_migrate_and_provision_need_only_what_they_use(
    empty_database_url: str, project: str, pubsub_server: str
) -> None:
    environment = worker_environment(empty_database_url, project, pubsub_server)
    database = {name: value for name, value in environment.items() if name != "HEADCOUNT_PROJECT"}
    bus = {name: value for name, value in environment.items() if name != "HEADCOUNT_DATABASE_URL"}
    assert asked("migrate", "--json", environment=database)["applied"]
    assert asked("migrate", "--json", environment=database) == {"applied": []}
    assert {one["state"] for one in asked("provision", "--json", environment=bus)} == {"created"}
    assert {one["state"] for one in asked("provision", "--json", environment=bus)} == {"exists"}


# --- handlers ------------------------------------------------------------------------------------------------------


def test_handlers_lists_what_a_worker_would_find(environment: dict[str, str]) -> None:
    found = {one["name"]: one for one in asked("handlers", "--json", environment=environment)}
    assert {"checksum_file", "build_manifest"} <= found.keys()
    assert found["checksum_file"]["executor"] == "thread"
    assert "path" in found["checksum_file"]["params"]["properties"]
    shown = typed("handlers", environment=environment).stdout
    assert "checksum_file" in shown
    assert "handlers/checksum_file.py:" in shown


BROKEN = {
    "syntax": ("def broken(:\n    pass\n", 1, ""),
    "import": ("import json\n\nimport nothing_like_this\n", 3, "pip install nothing_like_this"),
    "raises": ("x = 1\nraise ValueError('not today')\n", 2, ""),
    "annotation": ("from daemon import job\n\n\n@job('broken')\ndef broken(params):\n    pass\n", 4, ""),
    "name": ("from daemon import job\n\n\n@job('')\ndef broken(params: dict):\n    pass\n", 4, ""),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_handlers_module_is_named_with_file_and_line(
    environment: dict[str, str], tmp_path: Path, kind: str
) -> None:
    text, line, fix = BROKEN[kind]
    package = tmp_path / "handlers"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broken.py").write_text(text)
    environment = {**environment, "PYTHONPATH": ""}
    said = typed("handlers", environment=environment, folder=tmp_path, code=2).stderr.splitlines()
    assert f"{package / 'broken.py'}:{line}" in said[0]
    assert [one.strip() for one in said[1:]] == ([fix] if fix else [])
