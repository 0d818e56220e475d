"""A finding: what is wrong, why it matters, and the command that fixes it.

Made by every check of the doctor, read by `report`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial


class Severity(StrEnum):
    """How bad a finding is, the worst first."""

    FATAL = "fatal"  # no worker runs like that
    LOSES_WORK = "loses_work"  # workers run, and jobs are lost, doubled beyond reason or stand still
    UNCHECKED = "unchecked"  # could not be asked, so nothing is known
    ADVICE = "advice"  # costs time or money, loses nothing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `area` is database, pubsub, worker or deployment; `fix` is a command."""

    severity: Severity
    area: str
    what: str
    why: str
    fix: str


fatal = partial(Finding, Severity.FATAL)
loses_work = partial(Finding, Severity.LOSES_WORK)
unchecked = partial(Finding, Severity.UNCHECKED)
advice = partial(Finding, Severity.ADVICE)
