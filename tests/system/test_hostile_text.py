"""Text from outside reaches the terminal as letters: no markup of it is read, none of its control characters arrive.

One real worker has run a job whose name, params, tags, progress, result and error are hostile; then every command that
prints any of it is typed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from daemon.client import Client
from daemon.pubsub.publisher import Publisher
from daemon.settings import load
from tests.harness.databases import TestDatabases
from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import typed
from tests.system.hostile import CLEAR, CSI, HANDLERS, HOSTILE, NAME, ROWS, TITLE, on_a_terminal, raw_characters

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Setting:
    """Where the hostile rows are."""

    environment: dict[str, str]
    folder: Path
    orchestration: str
    job: str
    rejected: str
    file: Path

    def words(self, line: str) -> list[str]:
        values = {"ORCHESTRATION": self.orchestration, "JOB": self.job, "REJECTED": self.rejected, "NAME": NAME}
        return [values.get(word, word) for word in line.split()]


@pytest.fixture(scope="module")
async def setting(
    databases: TestDatabases, pubsub_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Setting]:
    folder = tmp_path_factory.mktemp("hostile")
    package = folder / "handlers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "hostile.py").write_text(HANDLERS)
    url, file = databases.migrated(), folder / "go on"
    environment = worker_environment(url, "hostile", pubsub_server, handlers_path=folder, slots=4)
    typed("provision", environment=environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", pubsub_server)
        settings, publisher = load(environment), Publisher()
        async with Client(settings) as client, WorkerProcess(environment, folder, handlers_in=folder):
            params = [{"fails": True, HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, {"file": str(file), HOSTILE: HOSTILE}]
            tags = {HOSTILE.replace("\n", ""): HOSTILE}
            begun = await client.kick_off(NAME, params, tags=tags)
            bad = {"job_name": NAME, "job_id": "[/]" + HOSTILE, HOSTILE: HOSTILE}
            await publisher.publish(settings.topic(settings.jobs_topic), [(HOSTILE.encode(), bad)])

            async def is_set() -> bool:
                running = await client.running(begun.id)
                said = bool(running) and running[0].progress.message is not None
                return said and (await begun.progress()).finished == 2 and bool(_rows(url, "rejected_message"))

            await until(is_set, within=40)
            with psycopg.connect(url) as connection:
                connection.execute(ROWS.replace("%(text)s", sql.quote(HOSTILE)))
            (failed, *_) = await client.outcomes(begun.id)
            yield Setting(
                environment, folder, str(begun.id), str(failed.job_id), _rows(url, "rejected_message")[0], file
            )
        await publisher.close()
    databases.drop(url)


def _rows(url: str, table: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [str(row[0]) for row in connection.execute(f"SELECT id FROM {table}")]  # type: ignore[call-overload]


# What has to be seen tells that the hostile text was printed, and as what.
ESCAPED = r"[/] [/red] [bold]\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202e\x7f"
SHOWN = {
    "status ORCHESTRATION": ESCAPED,
    "explain ORCHESTRATION": ESCAPED,
    "explain JOB": ESCAPED,
    "workers": ESCAPED.partition("[bold]")[2],  # its cells are folded
    "rejected list": ESCAPED,
    "rejected show REJECTED": ESCAPED,
    "handlers": NAME,
}


@pytest.mark.parametrize("line", list(SHOWN))
def test_hostile_text_is_shown_as_letters(setting: Setting, line: str) -> None:
    done = typed(*setting.words(line), environment=setting.environment, folder=setting.folder, code=None)
    assert done.returncode in (0, 1), done.stderr
    assert raw_characters(done.stdout + done.stderr) == []
    assert SHOWN[line] in done.stdout.replace("\n", ""), done.stdout
    assert "\neverything is fine" not in done.stdout


@pytest.mark.parametrize("line", list(SHOWN))
def test_hostile_text_does_nothing_to_a_terminal(setting: Setting, line: str) -> None:
    code, shown = on_a_terminal(*setting.words(line), environment=setting.environment, folder=setting.folder)
    assert code in (0, 1), shown
    assert not any(harm in shown for harm in (TITLE, CLEAR, CSI, "Traceback")), shown


@pytest.mark.parametrize(
    "line",
    [
        "status ORCHESTRATION --json",
        "explain ORCHESTRATION --json",
        "explain JOB --json",
        "workers --json",
        "rejected list --json",
        "rejected show REJECTED --json",
        "handlers --json",
    ],
)
def test_json_keeps_the_value_and_escapes_it(setting: Setting, line: str) -> None:
    done = typed(*setting.words(line), environment=setting.environment, folder=setting.folder, code=None)
    assert raw_characters(done.stdout + done.stderr) == []
    found = json.loads(done.stdout.splitlines()[0])
    assert (NAME if line.startswith("handlers") else TITLE) in _texts(found)


def _texts(value: object) -> str:
    match value:
        case dict():
            return "".join(f"{key}{_texts(part)}" for key, part in value.items())
        case list():
            return "".join(map(_texts, value))
    return str(value)


@pytest.mark.parametrize(
    "line",
    [
        "verify",
        "doctor",
        "provision",
        "migrate",
        "republish ORCHESTRATION",
        "prune --older-than 900d",
        "kickoff NAME --params no-such-file",
        "kickoff NAME --param fails=1 --tag \x1b]0;OWNED\x07=\x1b",
        "kickoff NAME --param fails=1 --key \x1b]0;OWNED\x07[/]",
        "kickoff \x1b]0;OWNED\x07",
        "status \x1b]0;OWNED\x07[/]",
        "rejected list --reason \x1b]0;OWNED\x07[/]",
    ],
)
def test_no_other_command_lets_a_control_character_through(setting: Setting, line: str) -> None:
    done = typed(*setting.words(line), environment=setting.environment, folder=setting.folder, code=None)
    assert done.returncode in (0, 1, 2), done.stderr
    assert raw_characters(done.stdout + done.stderr) == []


def test_the_bars_of_a_hostile_job_are_drawn_on_a_terminal(setting: Setting) -> None:
    words = ("kickoff", NAME, "--param", "fails=true", "--param", f"x={HOSTILE}", "--wait")
    code, shown = on_a_terminal(*words, environment=setting.environment, folder=setting.folder)
    assert code == 1, shown
    assert NAME in shown
    assert not any(harm in shown for harm in (TITLE, CLEAR, CSI, "Traceback")), shown


def test_following_to_the_end_then_cancel_retry_and_the_rest_say_nothing_hostile(setting: Setting) -> None:
    words = setting.words("status ORCHESTRATION --watch")
    code, shown = on_a_terminal(
        *words, environment=setting.environment, folder=setting.folder, seen="OWNED", then=setting.file.touch
    )
    assert code == 1, shown
    assert NAME in shown
    assert not any(harm in shown for harm in (TITLE, CLEAR, CSI, "Traceback")), shown

    for line in (
        "results ORCHESTRATION",
        "results ORCHESTRATION --failed",
        "cancel ORCHESTRATION",
        "retry ORCHESTRATION",
        "rejected replay REJECTED",
        "rejected purge --older-than 0s",
        "prune --older-than 0s",
    ):
        done = typed(*setting.words(line), environment=setting.environment, folder=setting.folder, code=None)
        assert done.returncode in (0, 1, 2), done.stderr
        assert raw_characters(done.stdout + done.stderr) == [], line
        if line.startswith("results"):
            assert ESCAPED in done.stdout
