"""Options that many commands share, and how their texts are read: durations, moments, KEY=VALUE.

Called by the commands. A text that can't be read is a usage error that shows what would be right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from daemon.rules.filters import seconds_of

Reveal = Annotated[
    bool,
    typer.Option("--reveal", help="Show secret fields of params, and params of jobs that no worker has described."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
OrchestrationId = Annotated[UUID, typer.Argument(metavar="ID", help="The id that kickoff printed.", show_default=False)]

OptionalId = Annotated[
    UUID | None, typer.Argument(metavar="ID", help="The id that kickoff printed.", show_default=False)
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="FILTER", help="All that match, like 'job:thumbnail kind:TimedOut age<2d'."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def duration(text: str) -> timedelta:
    """`90s`, `10m`, `1h30m`, `2d`."""
    seconds = seconds_of(text)
    if seconds is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 90s, 10m, 1h30m or 2d")
    return timedelta(seconds=seconds)


def moment(text: str) -> datetime:
    """`2026-08-01T06:00:00Z`, the same without a zone in local time, or `+10m` from now."""
    if text.startswith("+"):
        return datetime.now(UTC) + duration(text[1:])
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        shown = "2026-08-01T06:00:00Z, 2026-08-01T06:00 or +10m"
        raise typer.BadParameter(f"{text!r} is not a date or time; write it like {shown}") from None


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE, repeated."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
        found[key] = value
    return found


def values(texts: Iterable[str]) -> dict[str, object]:
    """KEY=VALUE, repeated, where a value that is JSON (true, 3, [1,2], "007") counts as JSON and else as text."""
    return {key: _json_or_text(value) for key, value in pairs(texts).items()}


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
