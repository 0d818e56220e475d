"""Why params do not fit: which field, and what was expected there, without any value that a producer sent.

Called by the runner. The text goes into the row, the log and the span of the attempt, and params may hold anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from daemon.rules.storable import safe_str

ERRORS_SHOWN = 20
_LONGEST_NAME = 64
# What a message may say about the type. The rest of its parts (`error`, `tag`) may quote the input.
_OF_THE_TYPE = frozenset(
    {
        *("expected", "expected_tags", "discriminator", "class", "class_name", "gt", "ge", "lt", "le", "multiple_of"),
        *("min_length", "max_length", "actual_length", "pattern", "max_digits", "decimal_places", "whole_digits"),
        *("field_type", "expected_schemes", "expected_version", "method_name", "tz_expected", "fixed_length"),
    }
)
_KNOWN = frozenset(get_args(ErrorType))


def names_in(schema: object) -> frozenset[str]:
    """Every name of a field that a JSON schema declares, at any depth: the names that may be shown."""
    return frozenset(_names(schema))


def why_refused(error: ValidationError, names: Collection[str], *, show_values: bool = False) -> str:
    """A line per field that does not fit: `path: Field required [missing]`, at most twenty.

    Names that are not among `names` came from the producer (the keys of a dict) and are shown as `*`, the words of a
    handler's own validator are left out, for both may hold values. With `show_values`, everything that pydantic says.
    """
    if show_values:
        return safe_str(error)
    errors = error.errors(include_url=False, include_input=False)
    lines = [f"{_path(error, names)}: {_message(error)} [{error['type']}]" for error in errors[:ERRORS_SHOWN]]
    if len(errors) > len(lines):
        lines.append(f"and {len(errors) - len(lines)} more")
    return "\n".join(lines)


def _path(error: ErrorDetails, names: Collection[str]) -> str:
    parts = [str(part) if isinstance(part, int) or part in names else "*" for part in error["loc"]]
    if error["type"] == "extra_forbidden" and error["loc"]:  # a name that was mistyped must be shown
        last = str(error["loc"][-1])
        parts[-1] = last if last.isidentifier() and len(last) <= _LONGEST_NAME else "*"
    return ".".join(parts) or "params"


def _message(error: ErrorDetails) -> str:
    if error["type"] not in _KNOWN or error["type"] in ("value_error", "assertion_error"):
        return "a validator of the handler refused it (HEADCOUNT_LOG_VALUES=true shows its words)"
    if error["type"] == "json_invalid":  # the parser names the position, not the value there
        return error["msg"]
    message = error["msg"]
    for name, part in error.get("ctx", {}).items():
        if name not in _OF_THE_TYPE and str(part):
            message = message.replace(f", {part}", "").replace(str(part), "***")
    return message


def _names(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        fields = schema.get("properties")
        if isinstance(fields, dict):
            yield from fields
        for part in schema.values():
            yield from _names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _names(part)
