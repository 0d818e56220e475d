"""How many jobs of a kind run at once, or start in a time, in the whole fleet: what an author declares, checked.

Used by the `@job` decorator; the claims of `postgres/` carry it out. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = ("tags", "params")
MAX_LIMIT_NAME = 200
RESERVED = "*"  # begins the names of limits that no handler declares
PARALLELISM = "*parallelism"  # of one orchestration


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `size` jobs at once, over all workers that see the database.

    `per` names a value that each job is counted under: `tags.customer` (a tag of its orchestration) or
    `params.account.id` (a value in its params); a job without that value counts under the empty one. Without `per` all
    jobs count together. Handlers that name the same limit (`name`) share it; else each handler has its own.

    Raises ValueError for a size below 1, or a `per` of another form.
    """

    size: int
    per: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _check(self.size, self.per, "per", self.name)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `size` starts every `per` seconds, over all workers that see the database, evenly spread.

    `key` names the value that starts are counted under, as `per` of a Limit does. A retry is a start of its own.
    Handlers that name the same rate (`name`) share it; else each handler has its own.

    Raises ValueError for a size below 1, no time at all, or a `key` of another form.
    """

    size: int
    per: float
    key: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.per < float("inf"):
            raise ValueError(f"per is a number of seconds above 0, not {self.per!r}")
        _check(self.size, self.key, "key", self.name)


def _check(size: int, path: str | None, argument: str, name: str | None) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"a limit is a whole number of jobs from 1, not {size!r}")
    if path is not None:
        source, _, field = path.partition(".")
        if source not in SOURCES or not all(field.split(".")):
            raise ValueError(f"{argument} is tags.NAME or params.NAME, not {path!r}")
    if name is not None and not 0 < len(name) <= MAX_LIMIT_NAME:
        raise ValueError(f"the name of a limit has 1 to {MAX_LIMIT_NAME} characters")


@dataclass(frozen=True, slots=True)
class JobLimit:
    """A limit of one handler, as the claims need it: `source` is tags, params or empty, `field` a dotted path. A Rate
    has a `period` in seconds."""

    job_name: str
    limit_name: str
    source: str
    field: str
    size: int
    period: float | None = None


def limits_of(job_name: str, limits: tuple[Limit | Rate, ...]) -> list[JobLimit]:
    """The limits of a handler under their names. Raises ValueError when two of them have the same one."""
    found = []
    for limit in limits:
        path, period, kind = (limit.key, limit.per, " rate") if isinstance(limit, Rate) else (limit.per, None, "")
        source, _, field = (path or "").partition(".")
        default = f"{job_name}{kind} per {path}" if path else f"{job_name}{kind}"
        found.append(JobLimit(job_name, limit.name or default, source, field, limit.size, period))
    if any(limit.limit_name.startswith(RESERVED) for limit in found):
        raise ValueError(f"the name of a limit can't begin with {RESERVED}")
    if len({limit.limit_name for limit in found}) < len(found):
        raise ValueError("two limits have the same name")
    return found
