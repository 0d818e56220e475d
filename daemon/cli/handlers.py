"""`headcount handlers`: what a worker would find, before one is started.

Called by job authors. It imports the handler packages just as a worker does, and refuses what a worker would refuse,
with file and line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli.options import AsJson
from daemon.cli.output import Cell, echo_json, show_table

if TYPE_CHECKING:
    from daemon.registry import Handler


def handlers(as_json: AsJson = False) -> None:
    """List the handlers found in the packages of HEADCOUNT_HANDLERS."""
    from daemon.registry import discover
    from daemon.settings import load

    settings = load(without=("database_url", "project"))
    registry = discover(settings.packages, settings.handlers_path)
    if as_json:
        echo_json([_as_json(handler) for handler in registry])
        return
    columns = ("name", "executor", "params", "timeout", "attempts", "at a time", "where")
    show_table(columns, [_row(handler) for handler in registry])


def _row(handler: Handler) -> tuple[Cell, ...]:
    return (
        (handler.name, "bold"),
        handler.executor,
        summary(handler.params.json_schema()),
        "none" if handler.timeout is None else f"{handler.timeout:g} s",
        str(handler.policy.max_attempts),
        "any" if handler.concurrency is None else str(handler.concurrency),
        _relative(handler.location),
    )


def summary(schema: dict[str, object]) -> str:
    """A params schema on a line: `path: path, sizes?: [integer]`; a question mark where it may be left out."""
    fields = schema.get("properties")
    if not isinstance(fields, dict) or not fields:
        return str(schema.get("title") or schema.get("type") or "any")
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    return ", ".join(f"{name}{'' if name in needed else '?'}: {_kind(field)}" for name, field in fields.items())


def _kind(schema: object) -> str:
    match schema:
        case {"type": "array", "items": items}:
            return f"[{_kind(items)}]"
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"anyOf": list(choices)}:
            return " or ".join(_kind(choice) for choice in choices)
        case {"format": str(name)} | {"type": str(name)}:
            return name
    return "any"


def _as_json(handler: Handler) -> dict[str, object]:
    return {
        "name": handler.name,
        "executor": handler.executor,
        "params": handler.params.json_schema(),
        "timeout_seconds": handler.timeout,
        "max_attempts": handler.policy.max_attempts,
        "concurrency": handler.concurrency,
        "location": handler.location,
    }


def _relative(location: str) -> str:
    try:
        return str(Path(location).relative_to(Path.cwd()))
    except ValueError:
        return location
