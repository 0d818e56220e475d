"""How many jobs of a kind run at the same time in the whole fleet: what an author declares, checked.

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
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"a limit is a whole number of jobs from 1, not {self.size!r}")
        if self.per is not None:
            source, _, field = self.per.partition(".")
            if source not in SOURCES or not all(field.split(".")):
                raise ValueError(f"per is tags.NAME or params.NAME, not {self.per!r}")
        if self.name is not None and not 0 < len(self.name) <= MAX_LIMIT_NAME:
            raise ValueError(f"the name of a limit has 1 to {MAX_LIMIT_NAME} characters")


@dataclass(frozen=True, slots=True)
class JobLimit:
    """A limit of one handler, as the claims need it: `source` is tags, params or empty, `field` a dotted path."""

    job_name: str
    limit_name: str
    source: str
    field: str
    size: int


def limits_of(job_name: str, limits: tuple[Limit, ...]) -> list[JobLimit]:
    """The limits of a handler under their names. Raises ValueError when two of them have the same one."""
    found = []
    for limit in limits:
        source, _, field = (limit.per or "").partition(".")
        default = f"{job_name} per {limit.per}" if limit.per else job_name
        found.append(JobLimit(job_name, limit.name or default, source, field, limit.size))
    if any(limit.limit_name.startswith(RESERVED) for limit in found):
        raise ValueError(f"the name of a limit can't begin with {RESERVED}")
    if len({limit.limit_name for limit in found}) < len(found):
        raise ValueError("two limits have the same name")
    return found
