"""The checks at the end of a scenario: was anything lost, run twice or left behind?

They read the attempt log, the interventions, the events and the rows, and trust no component:
two attempts of one job at a time are found in what the handlers themselves wrote.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from daemon.rules.events import event_id
from tests.chaos.attempt_log import Entry
from tests.chaos.event_listener import EventListener
from tests.chaos.report import Report
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import Exit, Intervention


@dataclass(frozen=True, slots=True)
class Interval:
    """One attempt of one job in one process."""

    job_id: str
    attempt: int
    pid: int
    begin: float
    end: float

    def __str__(self) -> str:
        return f"attempt {self.attempt} of {self.job_id} in {self.pid} from {self.begin:.3f} to {self.end:.3f}"


def intervals(entries: Iterable[Entry], silenced: Mapping[int, Sequence[float]]) -> list[Interval]:
    """When each attempt was live: until its end line, or until its process was killed, stopped or had ended."""
    begins: dict[tuple[str, int, int], float] = {}
    ends: dict[tuple[str, int, int], float] = {}
    for entry in entries:
        key = (entry.job_id, entry.attempt, entry.pid)
        if entry.kind == "begin":
            begins[key] = entry.at
        elif entry.kind == "end":
            ends[key] = entry.at
    found = []
    for (job_id, attempt, pid), begin in begins.items():
        cut = min((at for at in silenced.get(pid, ()) if at >= begin), default=float("inf"))
        end = min(ends.get((job_id, attempt, pid), float("inf")), cut)
        found.append(Interval(job_id, attempt, pid, begin, end))
    return found


def silenced_at(interventions: Iterable[Intervention], exits: Iterable[Exit]) -> dict[int, list[float]]:
    """When each process fell silent."""
    found: dict[int, list[float]] = defaultdict(list)
    for intervention in interventions:
        if intervention.kind in ("kill", "stop"):
            found[intervention.pid].append(intervention.at)
    for one in exits:
        found[one.pid].append(one.at)
    return found


def overlaps(live: Iterable[Interval]) -> list[str]:
    """Pairs of attempts of one job that were live at the same time."""
    by_job: dict[str, list[Interval]] = defaultdict(list)
    for one in live:
        by_job[one.job_id].append(one)
    found = []
    for attempts in by_job.values():
        attempts.sort(key=lambda one: one.begin)
        for earlier, later in pairwise(attempts):
            if later.begin < earlier.end:
                found.append(f"{earlier} and {later}")
    return found


def check_events(report: Report, listener: EventListener, orchestrations: Sequence[UUID]) -> None:
    """Each orchestration has exactly one event id."""
    ids = listener.event_ids()
    silent = [one for one in orchestrations if not ids.get(str(one))]
    several = [one for one, event_ids in ids.items() if len(event_ids) > 1]
    strange = set(ids) - {str(one) for one in orchestrations}
    report.note("events received, duplicates included", listener.received)
    report.none_of("orchestrations without an event", silent)
    report.none_of("orchestrations with two event ids", several)
    report.none_of("events of unknown orchestrations", strange)


def check_generations(report: Report, stack: Stack, listener: EventListener, orchestrations: Sequence[UUID]) -> None:
    """Each generation of each orchestration has exactly one event id, always with the same body."""
    rows = stack.rows("SELECT id, generation FROM orchestration")
    wanted = {str(one): {str(event_id(one, number)) for number in range(1, last + 1)} for one, last in rows}
    received = listener.event_ids()
    report.note("generations", sum(len(ids) for ids in wanted.values()))
    report.note("event ids", sum(len(ids) for ids in received.values()))
    report.note("events received, duplicates included", listener.received)
    report.none_of("orchestrations that were lost", {str(one) for one in orchestrations} - set(wanted))
    report.none_of(
        "generations without an event", [one for one, ids in wanted.items() if ids - received.get(one, set())]
    )
    report.none_of("events of no generation", [one for one, ids in received.items() if ids - wanted.get(one, set())])
    report.none_of("event ids with two bodies", listener.contradictions())


def check_rows(report: Report, stack: Stack, jobs: int, orchestrations: int) -> None:
    """Everything is finished, and nothing had to be repaired."""
    report.is_exactly("jobs in the database", stack.number("SELECT count(*) FROM job"), jobs)
    unfinished = "SELECT count(*) FROM orchestration WHERE completed_at IS NULL"
    report.is_exactly("unfinished orchestrations", stack.number(unfinished), 0)
    complete = "SELECT count(*) FROM orchestration WHERE completed_at IS NOT NULL"
    report.is_exactly("complete orchestrations", stack.number(complete), orchestrations)
    report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    report.note("given back by heartbeats after a lost answer", stack.given_back())
    for kind, count in stack.rows("SELECT kind, count(*) FROM failed_attempt GROUP BY kind ORDER BY kind"):
        report.note(f"attempts that ended as {kind}", count)
    for cause, count in stack.rows("SELECT cause, count(*) FROM redelivery GROUP BY cause ORDER BY cause"):
        report.note(f"redeliveries: {cause}", count)


def check_runs(
    report: Report,
    entries: Sequence[Entry],
    interventions: Sequence[Intervention],
    exits: Sequence[Exit],
    *,
    jobs: int,
    slots: int,
    gently: bool = False,
) -> None:
    """Nothing ran twice at once, nor more often than the interventions explain; `gently`: drains explain it too."""
    live = intervals(entries, silenced_at(interventions, exits))
    kills = sum(intervention.kind == "kill" for intervention in interventions)
    stops = sum(intervention.kind == "stop" for intervention in interventions)
    drains = sum(intervention.kind == "term" for intervention in interventions)
    report.note("workers killed", kills)
    report.note("workers stopped", stops)
    report.note("workers drained", drains)
    report.none_of("two live attempts of one job", overlaps(live))
    report.at_most("runs", len(live), jobs + (kills + stops + drains * gently) * slots)
    report.is_exactly("jobs that ran", len({one.job_id for one in live}), jobs)


def check_attempts(report: Report, stack: Stack, entries: Sequence[Entry], silenced: Mapping[int, list[float]]) -> None:
    """No two runs of a job at a time, each run an attempt of its own, and whatever is Completed was run to its end."""
    live = intervals(entries, silenced)
    runs = {(one.job_id, one.attempt) for one in live}
    report.note("runs", len(live))
    report.none_of("two live attempts of one job", overlaps(live))
    report.is_exactly("attempts that ran in two workers", len(live) - len(runs), 0)
    returned = {(one.job_id, one.attempt) for one in entries if one.kind == "end" and one.text == "returned"}
    done = stack.rows("SELECT id, attempt FROM job WHERE status = 'Completed'")
    report.none_of("Completed without a run that returned", [one for one, n in done if (str(one), n) not in returned])


async def check_invariants(report: Report, stack: Stack, worker_ttl: float) -> None:
    """The same checks as `headcount verify`."""
    found = await stack.violations(worker_ttl)
    report.none_of("broken invariants", (f"{one.check} {one.id} {one.text}" for one in found))
