"""Exit codes, and what a person reads when a command can't do what was asked.

Called by `daemon.__main__` for every HeadcountError, and by the commands for their codes. It never shows a traceback:
what is not a HeadcountError is a bug, and Python shows that itself.
"""

from __future__ import annotations

from enum import IntEnum

from daemon.errors import HeadcountError, OrchestrationNotFound, StartupError


class Exit(IntEnum):
    """What a program can read from the end of a command."""

    FINE = 0
    FAILED = 1
    REFUSED = 2
    NOT_FOUND = 3
    INTERRUPTED = 130


HELP = (
    "Exit codes: 0 fine; 1 what was asked about has failed (Errored instances); 2 could not start: a wrong option or "
    "setting, something missing; 3 not found; 130 interrupted."
)


def complain(error: HeadcountError) -> Exit:
    """Say it on standard error, the command that fixes it on a line of its own; the exit code that fits."""
    from daemon.cli.screen import say

    problem = error.problem if isinstance(error, StartupError) else str(error)
    for line in problem.splitlines() or [""]:  # the end of a log, a traceback: their lines stay lines
        say(line, style="bold red")
    if isinstance(error, StartupError) and error.fix:
        say(f"  {error.fix}", style="bold green")
    return Exit.NOT_FOUND if isinstance(error, OrchestrationNotFound) else Exit.REFUSED
