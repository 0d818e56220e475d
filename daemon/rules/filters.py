"""One way to say which orchestrations are meant: `job:thumbnail state:failed kind:TimedOut tag.customer:c-17 age<2d`.

Used by `--where` of the command line. Terms are separated by spaces and must all hold; a value with a space stands in
quotes. Pure.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from daemon.errors import RequestRefused
from daemon.job import Kind
from daemon.orchestration import ListState, OrchestrationFilter

TERMS = "job:NAME, state:STATE, kind:KIND, tag.KEY:VALUE, age<2d, age>90m"

_TERM = re.compile(r"(job|state|kind|age|tag\.[^:<>]+)([:<>])(.+)", re.DOTALL)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_filter(text: str) -> OrchestrationFilter:
    """The filter that a text describes. Raises RequestRefused, with the term that is wrong and what would be right."""
    try:
        terms = shlex.split(text)
    except ValueError as error:
        raise RequestRefused(f"the filter {text!r} can't be read: {error}") from None
    if not terms:
        raise RequestRefused(f"the filter is empty; terms are {TERMS}")
    wanted = OrchestrationFilter()
    for number, term in enumerate(terms):
        name, sign, value = _split(term)
        if any(_split(earlier)[:2] == (name, sign) for earlier in terms[:number]):
            raise RequestRefused(f"{name}{sign} stands twice in the filter, and both would have to hold")
        wanted = _with(wanted, name, sign, value)
    return wanted


def seconds_of(text: str) -> float | None:
    """The seconds of a duration like `90s`, `10m`, `1h30m` or `2d`; None for any other text."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _split(term: str) -> tuple[str, str, str]:
    found = _TERM.fullmatch(term)
    if found is None or (found[1] == "age") == (found[2] == ":"):
        raise RequestRefused(f"{term!r} is no term of a filter; terms are {TERMS}")
    return found[1], found[2], found[3]


def _with(wanted: OrchestrationFilter, name: str, sign: str, value: str) -> OrchestrationFilter:
    match name:
        case "job":
            return replace(wanted, job_name=value)
        case "state":
            if value not in set(ListState):
                raise RequestRefused(f"{value!r} is no state; states are {', '.join(ListState)}")
            return replace(wanted, state=ListState(value))
        case "kind":
            if value not in set(Kind):
                raise RequestRefused(f"{value!r} is no kind of error; kinds are {', '.join(Kind)}")
            return replace(wanted, kind=Kind(value))
        case "age":
            seconds = seconds_of(value)
            if seconds is None:
                raise RequestRefused(f"{value!r} is not a duration; write it like 90s, 10m, 1h30m or 2d")
            return replace(wanted, newer_than=seconds) if sign == "<" else replace(wanted, older_than=seconds)
        case _:
            return replace(wanted, tags={**wanted.tags, name.removeprefix("tag."): value})
