"""Jobs that are ended from outside: by their timeout, by a deadline, by a cancel; and jobs that go on where they were.

Run by `python -m tests.chaos` and by the system tests, on a crew of two workers that the caller has made.
"""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

from daemon.client import Client
from daemon.job import JobMessage
from daemon.pubsub.publisher import Publisher
from daemon.rules.messages import encode, instance_id
from tests.chaos.crew import Crew
from tests.chaos.report import Report
from tests.chaos.scenarios.recovery import all_begun, jobs_of
from tests.chaos.stage import Stage
from tests.chaos.witness import Witness
from tests.harness.waiting import until

CANCEL_LIMIT = 2.0


async def all_endings(at: str | None = None) -> Report:
    """Each of them, one after the other."""
    report = Report("timeout, deadline, cancel and checkpoints")
    with Stage(at=at) as stage:
        await stage.provision()
        with Witness(stage.project) as witness:
            async with stage.client() as client, Crew(stage.environment(), stage.folder, 2) as crew:
                await timeout(report, stage, client)
                await deadline(report, stage, client, witness)
                await cancel(report, stage, client)
                await unborn(report, stage, client, witness)
                await checkpoints(report, stage, client, crew)
        report.is_exactly("repairs by the sweeper", stage.repairs(), 0)
    return report


async def timeout(report: Report, stage: Stage, client: Client) -> None:
    """A handler that takes longer than its timeout."""
    made = await client.kick_off("hurried", [{"seconds": 30.0}, {"seconds": 0.0}])
    await made.wait(timeout=20)
    successes, failures = await made.results()
    kinds = [str(one.error.kind) for one in failures or () if one.error]
    report.is_exactly("timeout: kinds", " ".join(kinds), "TimedOut")
    report.is_exactly("timeout: the quick one", len(successes), 1)
    ends = [one.text for one in stage.entries() if one.job_id == str(jobs_of(made.id, 1)[0]) and one.kind == "end"]
    report.is_exactly("timeout: what the handler was told", " ".join(ends), "CancelledError TimedOut")


async def deadline(report: Report, stage: Stage, client: Client, witness: Witness) -> None:
    """An orchestration whose deadline passes while half of it runs."""
    params = [{"seconds": 60.0 if index % 2 else 0.0} for index in range(10)]
    began = time.monotonic()
    made = await client.kick_off("nap", params, deadline=timedelta(seconds=3))
    state = await made.wait(timeout=20)
    report.note("deadline of 3 s: closed after, s", time.monotonic() - began)
    _, failures = await made.results()
    kinds = {str(one.error.kind) for one in failures or () if one.error}
    report.is_exactly("deadline: kinds", " ".join(kinds), "DeadlineExceeded")
    report.is_exactly("deadline: completed and errored", f"{state.completed} {state.errored}", "5 5")
    await until(lambda: witness.heard(made.id), within=20, what="its event came")
    report.is_exactly("deadline: the event's outcome", witness.outcome(made.id) or "", "Partial")
    ids = {str(one) for one in jobs_of(made.id, 10)}
    told = await until(
        lambda: [one.text for one in stage.entries() if one.job_id in ids and one.text.startswith("Cancelled")],
        within=10,
        what="its handlers were cancelled",
    )
    report.is_exactly("deadline: what handlers were told", " ".join(set(told)), "CancelledError Ended")


async def cancel(report: Report, stage: Stage, client: Client) -> None:
    """A cancel reaches what runs and what waits."""
    made = await client.kick_off("nap", [{"seconds": 60.0}] * 5)
    await all_begun(stage, jobs_of(made.id, 5))
    ids = {str(one) for one in jobs_of(made.id, 5)}
    began = time.monotonic()
    ended = await made.cancel()
    state = await made.wait(timeout=10)
    await until(
        lambda: len([one for one in stage.entries() if one.job_id in ids and one.kind == "end"]) == 5,
        within=20,
        what="its handlers have ended",
    )
    last = max(one.at for one in stage.entries() if one.job_id in ids and one.kind == "end")
    report.within("cancel: the last handler ended after", last - began, CANCEL_LIMIT)
    report.is_exactly("cancel: jobs ended", ended, 5)
    report.is_exactly("cancel: outcome", str(state.outcome), "Errored")


async def unborn(report: Report, stage: Stage, client: Client, witness: Witness) -> None:
    """Instances whose messages never came are closed with the rest."""
    orchestration, count = uuid4(), 8
    message = JobMessage("nap", instance_id(orchestration, 3), orchestration, 3, count, "{}")
    publisher = Publisher()
    try:
        await publisher.publish(stage.settings().topic("jobs"), [encode(message)])
    finally:
        await publisher.close()
    done = "SELECT count(*) FROM orchestration WHERE id = %s AND completed = 1"
    await until(lambda: stage.number(done, orchestration) == 1, within=20, what="its only message was run")
    ended = await client.cancel(orchestration)
    state = await client.orchestration(orchestration).wait(timeout=10)
    report.is_exactly("unborn: ended by the cancel", ended, count - 1)
    report.is_exactly(
        "unborn: rows", stage.number("SELECT count(*) FROM job WHERE orchestration_id = %s", orchestration), count
    )
    report.is_exactly("unborn: outcome", str(state.outcome), "Partial")
    await until(lambda: witness.heard(orchestration), within=20, what="its event came")


async def checkpoints(report: Report, stage: Stage, client: Client, crew: Crew) -> None:
    """A job interrupted by SIGTERM goes on elsewhere from its last saved position."""
    made = [await client.kick_off(name, [{"steps": 40, "pause": 0.1}] * 4) for name in ("walk", "count_up")]
    ids = [job for one in made for job in jobs_of(one.id, 4)]

    def steps() -> list[tuple[str, str]]:
        own = {str(one) for one in ids}
        return [(one.job_id, one.text) for one in stage.entries() if one.kind == "step" and one.job_id in own]

    await until(lambda: len(steps()) > 8 * 8, within=30, what="each job has taken some steps")
    for member in crew.members:  # both, one after the other: every job is interrupted at least once
        before = member.worker.pid
        crew.dismiss(member)
        await until(lambda pid=before: crew.departure(pid), within=20, what="it has gone")  # type: ignore[misc]
        await crew.until_ready()
    for one in made:
        await one.wait(timeout=60)
    interrupted = stage.number("SELECT count(*) FROM job WHERE attempt > 1 AND id = ANY(%s)", ids)
    walked = steps()
    repeated = len(walked) - len(set(walked))
    report.note("checkpoints: jobs interrupted", interrupted)
    report.is_exactly("checkpoints: steps taken", len(set(walked)), 8 * 40)
    report.note("checkpoints: steps taken twice", repeated)
    # track saves at the stop, save after each step: only the step that was interrupted is taken again.
    report.at_most("checkpoints: steps twice for each interruption", repeated / max(interrupted, 1), 2)
    charged = "SELECT sum(failures + losses) FROM job WHERE id = ANY(%s)"
    report.is_exactly("checkpoints: failures and losses charged", stage.number(charged, ids), 0)
