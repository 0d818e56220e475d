"""Findings in the form in which they are read: sorted, as text, as JSON, and as an exit code.

Called by `headcount doctor`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.doctor.finding import Finding, Severity

ORDER = list(Severity)
TITLES = {
    Severity.FATAL: "no worker runs like this",
    Severity.LOSES_WORK: "loses work",
    Severity.UNCHECKED: "could not be checked",
    Severity.ADVICE: "advice",
}
STYLES = {
    Severity.FATAL: "bold red",
    Severity.LOSES_WORK: "red",
    Severity.UNCHECKED: "magenta",
    Severity.ADVICE: "yellow",
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
    return {
        "exit_code": exit_code(findings),
        "findings": [
            {
                "severity": finding.severity.value,
                "area": finding.area,
                "what": finding.what,
                "why": finding.why,
                "fix": finding.fix,
            }
            for finding in by_severity(findings)
        ],
    }


def lines(findings: Sequence[Finding]) -> Iterator[tuple[str, str | None]]:
    """Each line with its style: what and why, and the command on a line of its own."""
    for finding in by_severity(findings):
        yield f"{TITLES[finding.severity]} ({finding.area}): {finding.what}", STYLES[finding.severity]
        yield f"  {finding.why}", None
        yield f"  {finding.fix}", "bold green"
    if not findings:
        yield "nothing found: jobs would run here, and none would be lost", "green"
