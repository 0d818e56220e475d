"""Jobs that are ended from outside: by their timeout, by a deadline, by a cancel; and jobs that go on where they were.

Run by `python -m tests.chaos` and by the system tests, on a pool of two workers that the caller has made.
"""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

from daemon.client import Client
from daemon.job import JobMessage
from daemon.pubsub.publisher import Publisher
from daemon.rules.messages import encode, instance_id
from tests.chaos.event_listener import EventListener
from tests.chaos.report import Report
from tests.chaos.scenarios.recovery import all_begun, jobs_of
from tests.chaos.stack import Stack
from tests.chaos.worker_pool import WorkerPool
from tests.harness.waiting import until

CANCEL_LIMIT = 2.0


async def all_endings(at: str | None = None) -> Report:
    """Each of them, one after the other."""
    report = Report("timeout, deadline, cancel and checkpoints")
    with Stack(at=at) as stack:
        await stack.provision()
        with EventListener(stack.project) as listener:
            async with stack.client() as client, WorkerPool(stack.environment(), stack.folder, 2) as pool:
                await timeout(report, stack, client)
                await deadline(report, stack, client, listener)
                await cancel(report, stack, client)
                await unborn(report, stack, client, listener)
                await checkpoints(report, stack, client, pool)
        report.is_exactly("repairs by the sweeper", stack.repairs(), 0)
    return report


async def timeout(report: Report, stack: Stack, client: Client) -> None:
    """A handler that takes longer than its timeout."""
    made = await client.kick_off("hurried", [{"seconds": 30.0}, {"seconds": 0.0}])
    await made.wait(timeout=20)
    successes, failures = await made.results()
    kinds = [str(one.error.kind) for one in failures or () if one.error]
    report.is_exactly("timeout: kinds", " ".join(kinds), "TimedOut")
    report.is_exactly("timeout: the quick one", len(successes), 1)
    ends = [one.text for one in stack.entries() if one.job_id == str(jobs_of(made.id, 1)[0]) and one.kind == "end"]
    report.is_exactly("timeout: what the handler was told", " ".join(ends), "CancelledError TimedOut")


async def deadline(report: Report, stack: Stack, client: Client, listener: EventListener) -> None:
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
    await until(lambda: listener.received_at(made.id), within=20, what="its event came")
    report.is_exactly("deadline: the event's outcome", listener.outcome(made.id) or "", "Partial")
    ids = {str(one) for one in jobs_of(made.id, 10)}
    told = await until(
        lambda: [one.text for one in stack.entries() if one.job_id in ids and one.text.startswith("Cancelled")],
        within=10,
        what="its handlers were cancelled",
    )
    report.is_exactly("deadline: what handlers were told", " ".join(set(told)), "CancelledError Ended")


async def cancel(report: Report, stack: Stack, client: Client) -> None:
    """A cancel reaches what runs and what waits."""
    made = await client.kick_off("nap", [{"seconds": 60.0}] * 5)
    await all_begun(stack, jobs_of(made.id, 5))
    ids = {str(one) for one in jobs_of(made.id, 5)}
    began = time.monotonic()
    ended = await made.cancel()
    state = await made.wait(timeout=10)
    await until(
        lambda: len([one for one in stack.entries() if one.job_id in ids and one.kind == "end"]) == 5,
        within=20,
        what="its handlers have ended",
    )
    last = max(one.at for one in stack.entries() if one.job_id in ids and one.kind == "end")
    report.within("cancel: the last handler ended after", last - began, CANCEL_LIMIT)
    report.is_exactly("cancel: jobs ended", ended, 5)
    report.is_exactly("cancel: outcome", str(state.outcome), "Errored")


async def unborn(report: Report, stack: Stack, client: Client, listener: EventListener) -> None:
    """Instances whose messages never came are closed with the rest."""
    orchestration, count = uuid4(), 8
    message = JobMessage("nap", instance_id(orchestration, 3), orchestration, 3, count, "{}")
    publisher = Publisher()
    try:
        await publisher.publish(stack.settings().topic("jobs"), [encode(message)])
    finally:
        await publisher.close()
    done = "SELECT count(*) FROM orchestration WHERE id = %s AND completed = 1"
    await until(lambda: stack.number(done, orchestration) == 1, within=20, what="its only message was run")
    ended = await client.cancel(orchestration)
    state = await client.orchestration(orchestration).wait(timeout=10)
    report.is_exactly("unborn: ended by the cancel", ended, count - 1)
    report.is_exactly(
        "unborn: rows", stack.number("SELECT count(*) FROM job WHERE orchestration_id = %s", orchestration), count
    )
    report.is_exactly("unborn: outcome", str(state.outcome), "Partial")
    await until(lambda: listener.received_at(orchestration), within=20, what="its event came")


async def checkpoints(report: Report, stack: Stack, client: Client, pool: WorkerPool) -> None:
    """A job interrupted by SIGTERM goes on elsewhere from its last saved position."""
    made = [await client.kick_off(name, [{"steps": 40, "pause": 0.1}] * 4) for name in ("walk", "count_up")]
    ids = [job for one in made for job in jobs_of(one.id, 4)]

    def steps() -> list[tuple[str, str]]:
        own = {str(one) for one in ids}
        return [(one.job_id, one.text) for one in stack.entries() if one.kind == "step" and one.job_id in own]

    await until(lambda: len(steps()) > 8 * 8, within=30, what="each job has taken some steps")
    for member in pool.members:  # both, one after the other: every job is interrupted at least once
        before = member.worker.pid
        pool.terminate(member)
        await until(lambda pid=before: pool.exit_of(pid), within=20, what="it has gone")  # type: ignore[misc]
        await pool.until_ready()
    for one in made:
        await one.wait(timeout=60)
    interrupted = stack.number("SELECT count(*) FROM job WHERE attempt > 1 AND id = ANY(%s)", ids)
    walked = steps()
    repeated = len(walked) - len(set(walked))
    report.note("checkpoints: jobs interrupted", interrupted)
    report.is_exactly("checkpoints: steps taken", len(set(walked)), 8 * 40)
    report.note("checkpoints: steps taken twice", repeated)
    # track saves at the stop, save after each step: only the step that was interrupted is taken again.
    report.at_most("checkpoints: steps twice for each interruption", repeated / max(interrupted, 1), 2)
    charged = "SELECT sum(failures + losses) FROM job WHERE id = ANY(%s)"
    report.is_exactly("checkpoints: failures and losses charged", stack.number(charged, ids), 0)
