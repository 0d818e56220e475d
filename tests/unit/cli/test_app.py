"""The frame of the command line: every command explains itself, and none loads what it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.main import get_command

from daemon.cli.app import app
from daemon.cli.output import Exit, echo_error
from daemon.cli.run import refuse
from daemon.errors import DatabaseNotReady, OrchestrationNotFound, RequestRefused, SubscriptionNotReady
from daemon.pubsub.drift import Problem

HEAVY = ("sqlalchemy", "psycopg", "alembic", "grpc", "google.cloud", "prometheus_client", "uvloop", "watchfiles")


def commands() -> list[typer.core.TyperCommand]:
    """All commands, those of groups too."""
    found: list[typer.core.TyperCommand] = []
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]  # the root is a group
        found += getattr(command, "commands", {"": command}).values()
    return found


@pytest.mark.parametrize("command", commands(), ids=lambda command: str(command.name))
def test_every_command_and_every_option_explains_itself(command: typer.core.TyperCommand) -> None:
    assert command.help
    assert [one.name for one in command.params if not getattr(one, "help", None) and one.name != "help"] == []


def test_help_loads_nothing_heavy() -> None:
    script = f"import sys, daemon.cli.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_a_refusal_is_one_sentence_and_the_command_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert echo_error(DatabaseNotReady("The database lacks 0001.", "headcount migrate")) is Exit.REFUSED
    assert capsys.readouterr().err.splitlines() == ["The database lacks 0001.", "  headcount migrate"]


def test_not_found_and_refused_have_codes_of_their_own() -> None:
    assert echo_error(OrchestrationNotFound("no such id")) == 3
    assert echo_error(RequestRefused("params of instance 3 are not a JSON object")) == 2


def test_square_brackets_in_an_error_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    echo_error(RequestRefused("pip install 'headcount[local]' [red]"))
    assert capsys.readouterr().err == "pip install 'headcount[local]' [red]\n"


def test_problems_with_one_remedy_become_one_sentence_with_one_command() -> None:
    problems = [
        Problem("The topic a does not exist.", "", "headcount provision", True),
        Problem("The subscription b does not exist.", "", "headcount provision", True),
        Problem("The filter lets through other jobs.", "", "something else", True),
    ]
    with pytest.raises(SubscriptionNotReady) as caught:
        refuse(problems)
    assert caught.value.problem == "The topic a does not exist; the subscription b does not exist."
    assert caught.value.fix == "headcount provision"
    refuse([])
