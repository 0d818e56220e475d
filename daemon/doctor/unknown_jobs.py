"""Jobs that wait because no worker has a handler of their name, or because an operator has paused it.

Called by `database` on its connection. The last failed attempt of a waiting job says that a worker did not know it;
the handlers of this environment say whether a rollout is missing or the name is wrong.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Collection, Iterator

from sqlalchemy import Connection

from daemon.doctor import statements as sql
from daemon.doctor.finding import Finding, advice, loses_work

AREA = "worker"


def check(connection: Connection, names: Collection[str], grace: float) -> Iterator[Finding]:
    """A finding for each job name that waiting jobs have and workers did not know. `grace` is in seconds."""
    yield from (
        _finding(row.job_name, row.orchestrations, names, grace) for row in connection.execute(sql.UNKNOWN_JOBS)
    )


def check_paused(connection: Connection) -> Iterator[Finding]:
    """A finding for each job name that is paused."""
    for row in connection.execute(sql.PAUSED_JOBS):
        what = f"The job {row.job_name!r} is paused since {row.paused_at.astimezone():%Y-%m-%d %H:%M:%S}."
        why = "No worker begins a job of it, and its orchestrations do not complete."
        yield advice(AREA, what, why, f"headcount resume {shlex.quote(row.job_name)}")


def _finding(name: str, orchestrations: int, names: Collection[str], grace: float) -> Finding:
    counted = f"{orchestrations} {'orchestration waits' if orchestrations == 1 else 'orchestrations wait'}"
    why = f"After {grace:g} s such a job ends as Errored (UnknownJob)."
    found = f"headcount list --state running --job {shlex.quote(name)}"
    if name in names:
        what = f"{counted} for the job {name!r}, which is known here and not to the workers that run."
        return loses_work(AREA, what, why, f"{found}  # they run as soon as a release with this handler is deployed")
    near = difflib.get_close_matches(name, names, n=1)
    known = f"did the producer mean {near[0]}?" if near else f"known here: {', '.join(sorted(names)) or 'none'}"
    what = f"{counted} for the job {name!r}, which no worker knows ({known})."
    hint = "deploy its handler and they run; a wrong name: headcount cancel ID, and send them again under the right one"
    return loses_work(AREA, what, why, f"{found}  # {hint}")
