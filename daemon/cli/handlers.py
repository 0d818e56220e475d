"""`headcount handlers`: what a worker would find, before one is started.

Called by job authors. It imports the handler packages just as a worker does, and refuses what a worker would refuse,
with file and line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import AsJson
from daemon.cli.output import Cell, echo_json, show_table

if TYPE_CHECKING:
    from daemon.registry import Handler, Registry


def handlers(
    schema: Annotated[
        str | None, typer.Option(metavar="NAME", help="The JSON Schema of the params and the result of one handler.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the handlers found in the packages of HEADCOUNT_HANDLERS."""
    from daemon.registry import discover
    from daemon.settings import load

    settings = load(without=("database_url", "project"))
    registry = discover(settings.packages, settings.handlers_path)
    if schema is not None:
        echo_json(_schemas(registry, schema))
        return
    if as_json:
        echo_json([_as_json(handler) for handler in registry])
        return
    columns = ("name", "executor", "params", "timeout", "attempts", "at a time", "where")
    show_table(columns, [_row(handler) for handler in registry])


def _schemas(registry: Registry, name: str) -> dict[str, object]:
    from daemon.errors import RequestRefused
    from daemon.signature import json_schema

    handler = registry.find(name)
    if handler is None:
        raise RequestRefused(f"no handler is named {name!r}; known: {', '.join(registry.names)}")
    params = json_schema(handler.params, "validation")
    result = {} if handler.result is None else json_schema(handler.result, "serialization")
    for what, schema in (("params", params), ("result", result)):
        if isinstance(schema, str):
            raise RequestRefused(f"the {what} of {name!r} can't be described by JSON Schema: {schema}")
    return {"name": name, "params": params, "result": result}


def _row(handler: Handler) -> tuple[Cell, ...]:
    from daemon.signature import json_schema

    return (
        (handler.name, "bold"),
        handler.executor,
        summary(json_schema(handler.params, "validation")),
        "none" if handler.timeout is None else f"{handler.timeout:g} s",
        str(handler.policy.max_attempts),
        "any" if handler.concurrency is None else str(handler.concurrency),
        _relative(handler.location),
    )


def summary(schema: dict[str, object] | str) -> str:
    """A params schema on a line: `path: path, sizes?: [integer]`; a question mark where it may be left out."""
    if isinstance(schema, str):
        return "(not describable)"
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
    from daemon.signature import json_schema

    params = json_schema(handler.params, "validation")
    result = None if handler.result is None else json_schema(handler.result, "serialization")
    return {
        "name": handler.name,
        "executor": handler.executor,
        "params": None if isinstance(params, str) else params,
        "result": None if isinstance(result, str) else result,
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
