"""Findings as text, as JSON and as an exit code, the worst first.

Called by `headcount doctor`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from daemon.doctor.finding import Finding, Severity

ORDER = list(Severity)
TITLES = {
    Severity.FATAL: ("no worker runs like this", "bold red"),
    Severity.LOSES_WORK: ("loses work", "red"),
    Severity.UNCHECKED: ("could not be checked", "magenta"),
    Severity.ADVICE: ("advice", "yellow"),
}


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first; those of one severity in the order in which they were found."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def exit_code(findings: Sequence[Finding]) -> int:
    """0: nothing but advice; 1: something loses work; 2: something could not be checked, so nobody knows."""
    severities = {finding.severity for finding in findings}
    if Severity.UNCHECKED in severities:
        return 2
    return 1 if severities & {Severity.FATAL, Severity.LOSES_WORK} else 0


def as_json(findings: Sequence[Finding]) -> dict[str, object]:
    """One document for programs."""
    return {"exit_code": exit_code(findings), "findings": [asdict(finding) for finding in by_severity(findings)]}


def lines(findings: Sequence[Finding]) -> Iterator[tuple[str, str | None]]:
    """Each line with its style: what and why, and the command on a line of its own."""
    for finding in by_severity(findings):
        title, style = TITLES[finding.severity]
        yield f"{title} ({finding.area}): {finding.what}", style
        yield f"  {finding.why}", None
        yield f"  {finding.fix}", "bold green"
    if not findings:
        yield "nothing found: jobs would run here, and none would be lost", "green"
