"""How the texts of options are read, and how they are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from daemon.cli.options import duration, moment, pairs, values


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("0.5s", 0.5), ("250ms", 0.25)]
)
def test_a_duration_is_read_with_its_units(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "10x", "-5s", "10m5"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="like 90s"):
        duration(text)


def test_a_moment_always_has_a_time_zone() -> None:
    assert moment("2026-08-01T06:00:00Z") == datetime(2026, 8, 1, 6, tzinfo=UTC)
    assert moment("2026-08-01T06:00").tzinfo is not None
    assert abs((moment("+10m") - datetime.now(UTC)).total_seconds() - 600) < 5


@pytest.mark.parametrize("text", ["tomorrow", "06:00", "+soon"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text)


def test_a_pair_may_hold_more_equals_signs_but_needs_a_key() -> None:
    assert pairs(["query=a=b", "empty="]) == {"query": "a=b", "empty": ""}
    for text in ("nothing", "=value"):
        with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
            pairs([text])


def test_a_param_that_is_json_counts_as_json_and_else_as_text() -> None:
    read = values(["path=README.md", "fail=true", "count=3", "sizes=[1,2]", 'code="007"', "zip=01234"])
    assert read == {"path": "README.md", "fail": True, "count": 3, "sizes": [1, 2], "code": "007", "zip": "01234"}
