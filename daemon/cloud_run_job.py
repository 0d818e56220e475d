"""A Cloud Run Job and its executions: what a handler with `executor="cloud_run_job"` returns, and what becomes of it.

Made by job authors (through the door); read by the executor and by the client of the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/jobs/[^/]+")


@dataclass(frozen=True, slots=True)
class CloudRunJob:
    """Which Cloud Run Job to execute: `projects/PROJECT/locations/REGION/jobs/NAME`, and what differs this time.

    `args` replace those of its container, `env` is added to its variables, `tasks` replaces its number of tasks;
    `container` names the one that is meant where it has several. Raises ValueError for another form of name.
    """

    name: str
    args: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    tasks: int | None = None
    container: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not projects/PROJECT/locations/REGION/jobs/NAME")


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution as it stood when the service was asked. `name` is the full one; `message` is Cloud Run's own."""

    name: str
    is_done: bool
    succeeded: bool = False
    message: str = ""
    log_uri: str = ""
    tasks: int = 1
    tasks_succeeded: int = 0
