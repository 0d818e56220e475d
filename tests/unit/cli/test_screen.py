"""What reaches a terminal: short, on one line, and nothing that could take it over."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis.strategies import text

from daemon.cli.handlers import summary
from daemon.cli.output import echo_json, escape, escape_json, shorten


def test_a_long_value_is_cut_with_a_mark() -> None:
    assert shorten({"a": "x" * 100}, 20) == '{"a": "xxxxxxxxxxxx…'
    assert shorten("short", 20) == "short"


def test_control_characters_and_line_ends_never_reach_the_terminal() -> None:
    assert shorten("one\n two\t\x1b[31mred") == "one two \\x1b[31mred"


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x7f\x9b\u202e\u2028\ud800\U000e0041", "\\x7f\\x9b\\u202e\\u2028\\ud800\\U000e0041"),
        ("Größe 東京 👩\u200d🔬 [/x] [red]", "Größe 東京 👩\u200d🔬 [/x] [red]"),
    ],
)
def test_what_acts_on_a_terminal_is_escaped_and_every_letter_stays(text: str, letters: str) -> None:
    assert escape(text) == letters


@given(text())
def test_json_means_the_same_after_its_characters_are_escaped(value: str) -> None:
    written = escape_json(json.dumps({value: value}, ensure_ascii=False))
    assert json.loads(written) == {value: value}
    assert escape(written) == written


def test_json_output_is_one_line_with_times_and_ids_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"at": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=1), "path": Path("a"), "text": "ü\n"})
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == {
        "at": "2026-01-02T00:00:00+00:00",
        "id": "00000000-0000-0000-0000-000000000001",
        "path": "a",
        "text": "ü\n",
    }


def test_a_params_schema_is_summed_up_on_a_line() -> None:
    schema: dict[str, object] = {
        "properties": {
            "path": {"type": "string", "format": "path"},
            "sizes": {"type": "array", "items": {"type": "integer"}},
            "entry": {"$ref": "#/$defs/Entry"},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["path", "entry"],
    }
    assert summary(schema) == "path: path, sizes?: [integer], entry: Entry, limit?: integer or null"
    assert summary({"type": "object"}) == "object"
