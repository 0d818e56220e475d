"""Every `headcount` line of the runbook parses, and those that only read run against a real database and Pub/Sub."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from daemon.cli.app import app
from tests.system.commands import typed
from tests.system.test_alerts import RUNBOOK, typed_in

STANDS_FOR = {
    "ID": "00000000-0000-0000-0000-000000000001",
    "JOB": "00000000-0000-0000-0000-000000000002",
    "JSON": "{}",
    "NAME": "resize",
    "N": "3",
    "NUMBER": "7",
}
LOOKS = (("rejected", "list"), ("rejected", "show"))
READING = {"list", "status", "results", "explain", "workers", "verify", "doctor", "handlers"}
LINES = sorted(tuple(STANDS_FOR.get(word, word) for word in words) for words in typed_in(RUNBOOK.read_text()))
READ_ONLY = [words for words in LINES if words[0] in READING or words[:2] in LOOKS]
PROSE = {("explain",), ("results",)}  # a command's name alone, in a sentence


def parsed(words: tuple[str, ...]) -> list[str]:
    """The command that these words name; raises UsageError for what it would not take."""
    command: Any = get_command(app)
    names, rest = [], list(words)
    while hasattr(command, "commands") and rest:
        command = command.commands[rest[0]]
        names.append(rest.pop(0))
    if rest:
        command.make_context(" ".join(names), rest, resilient_parsing=False)
    return names


@pytest.mark.parametrize("words", [words for words in LINES if len(words) > 1], ids=" ".join)
def test_a_line_of_the_runbook_is_taken_by_the_command_that_it_names(words: tuple[str, ...]) -> None:
    assert parsed(words)


def test_a_line_that_no_command_takes_would_be_noticed() -> None:
    with pytest.raises(Exception, match="valid UUID"):
        parsed(("explain", "no-id"))
    with pytest.raises(KeyError):
        parsed(("lists",))


@pytest.mark.parametrize("words", [words for words in READ_ONLY if words not in PROSE], ids=" ".join)
def test_a_line_of_the_runbook_that_only_reads_runs(words: tuple[str, ...], provisioned: dict[str, str]) -> None:
    done = typed(*words, environment=provisioned, code=None)
    allowed = (0, 1, 3) if words[0] != "doctor" else (0, 1, 2)
    assert done.returncode in allowed, f"{done.returncode}: {done.stdout}{done.stderr}"
