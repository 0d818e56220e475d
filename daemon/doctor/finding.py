"""A finding: what is wrong, why it loses work, the command that fixes it.

Made by every check of the doctor, read by `report`. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


def fatal(area: str, what: str, why: str, fix: str) -> Finding:
    """No worker runs like that."""
    return Finding(Severity.FATAL, area, what, why, fix)


def loses_work(area: str, what: str, why: str, fix: str) -> Finding:
    """Workers run, and lose jobs."""
    return Finding(Severity.LOSES_WORK, area, what, why, fix)


def unchecked(area: str, what: str, why: str, fix: str) -> Finding:
    """Could not be asked."""
    return Finding(Severity.UNCHECKED, area, what, why, fix)


def advice(area: str, what: str, why: str, fix: str) -> Finding:
    """Could be better."""
    return Finding(Severity.ADVICE, area, what, why, fix)
