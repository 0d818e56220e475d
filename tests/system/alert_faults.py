"""The faults that alerts are tried on: how each one begins, which alerts it raises, and how it is fixed.

Used by test_alert_faults.py. Old work is made old by dating its row back, for the thresholds of the rules are in force
as they stand; everything else happens for real.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from daemon.local.postgres import EmbeddedPostgres
from tests.harness.waiting import until
from tests.system.alert_fleet import Fleet

Step = Callable[[Fleet], Awaitable[None]]

PUBLISH = "pubsub.topics.publish"
FINISHED = "sum(headcount_jobs_finished_total)"
HEALTHY_JOBS = 80
NO_JSON = b"\xff not JSON"


@dataclass(frozen=True)
class Fault:
    """`shows`: the alerts that fire before the fix; `leaves`: those that only its consequences raise, after it."""

    begin: Step
    fix: Step
    shows: frozenset[str] = frozenset()
    leaves: frozenset[str] = frozenset()


async def all_that_fire(fleet: Fleet, fault: Fault) -> set[str]:
    """Let it happen, fix it, wait until nothing fires any more: the alerts that fired at any time from its begin."""
    await fleet.until_silent()
    began = time.time()
    await fault.begin(fleet)
    await fleet.until_fired(fault.shows, began)
    await fault.fix(fleet)
    await fleet.until_fired(fault.leaves, began)
    await fleet.until_silent()
    return await fleet.fired_since(began)


# -- nothing -------------------------------------------------------------------------------------


async def work(fleet: Fleet) -> None:
    fleet.begin_load({}, job_name="nap")

    async def done() -> bool:
        return (await fleet.number(FINISHED) or 0) > HEALTHY_JOBS

    await until(done, within=60, what=f"{HEALTHY_JOBS} jobs are finished")


async def end_work(fleet: Fleet) -> None:
    await fleet.end_load()


# -- the database --------------------------------------------------------------------------------


def server_of(fleet: Fleet) -> EmbeddedPostgres:
    assert fleet.postgres is not None, "this fleet has no Postgres of its own"
    return fleet.postgres


async def stop_the_database(fleet: Fleet) -> None:
    fleet.begin_load({}, job_name="nap")
    server_of(fleet).stop()


async def stop_the_database_of_an_idle_worker(fleet: Fleet) -> None:
    server_of(fleet).stop()


async def start_the_database(fleet: Fleet) -> None:
    server_of(fleet).start()
    await fleet.end_load()


# -- the worker ----------------------------------------------------------------------------------


async def kill_the_worker(fleet: Fleet) -> None:
    await fleet.publish({"file": str(fleet.folder / "never")}, job_name="wait_for")
    await fleet.until_held()
    fleet.worker.kill()


async def start_another_worker(fleet: Fleet) -> None:
    await fleet.new_worker(worker_ttl_seconds=3, max_worker_losses=1)


async def block_the_loop(fleet: Fleet) -> None:
    await fleet.publish({"file": str(fleet.folder / "unblocked")}, job_name="block")


async def unblock_the_loop(fleet: Fleet) -> None:
    (fleet.folder / "unblocked").touch()


async def stop_a_worker_with_a_handler_that_clings(fleet: Fleet) -> None:
    await fleet.publish({"file": str(fleet.folder / "unclenched")}, job_name="cling")
    await fleet.until_held()
    fleet.worker.terminate()


async def replace_the_stopped_worker(fleet: Fleet) -> None:
    began = time.time()
    await fleet.worker.until_exit()
    await fleet.until_fired(alerts("NoWorker"), began)
    (fleet.folder / "unclenched").touch()
    await fleet.new_worker()


# -- jobs ----------------------------------------------------------------------------------------


async def lose_track_of_a_message(fleet: Fleet) -> None:
    fleet.control.pause_delivery(fleet.subscription)
    await fleet.kick_off("nap")
    await fleet.rows("UPDATE orchestration SET created_at = now() - interval '2 hours' WHERE completed_at IS NULL")


async def deliver_it(fleet: Fleet) -> None:
    fleet.control.resume_delivery(fleet.subscription)


async def run_a_job_that_never_ends(fleet: Fleet) -> None:
    await fleet.publish({"file": str(fleet.folder / "ended")}, job_name="wait_for")
    await fleet.until_held()
    await fleet.rows("UPDATE orchestration SET created_at = now() - interval '25 hours' WHERE completed_at IS NULL")


async def end_it(fleet: Fleet) -> None:
    (fleet.folder / "ended").touch()


async def let_jobs_fail(fleet: Fleet) -> None:
    fleet.begin_load({"fails": True}, job_name="nap")
    await fleet.publish({"file": str(fleet.folder / "hope")}, count=8, job_name="hope_for")
    await fleet.publish({}, job_name="nobody")
    await fleet.kick_off("wait_for", "--param", f"file={fleet.folder / 'hope'}", "--deadline", "1s")


async def let_them_succeed(fleet: Fleet) -> None:
    await fleet.end_load()
    (fleet.folder / "hope").touch()

    async def all_ended() -> bool:
        return not await fleet.rows("SELECT 1 FROM job WHERE status = 'InProgress' LIMIT 1")

    await until(all_ended, within=60, what="the unknown job is given up too")  # each try of it raises its alert again


# -- messages ------------------------------------------------------------------------------------


async def break_the_contract(fleet: Fleet) -> None:
    fleet.begin_load(NO_JSON, count=5, job_name="nap")


async def refuse_what_is_published(fleet: Fleet) -> None:
    await fleet.publish({"file": str(fleet.folder / "go")}, job_name="wait_for")
    await fleet.until_held()
    fleet.control.deny(PUBLISH, resource=fleet.events_topic)
    (fleet.folder / "go").touch()

    async def due() -> list[object]:
        old = "completed_at = now() - interval '5 minutes'"
        return list(await fleet.rows(f"UPDATE orchestration SET {old} WHERE completed_at IS NOT NULL RETURNING id"))

    await until(due, within=20, what="an event is due")


async def take_what_is_published(fleet: Fleet) -> None:
    fleet.control.allow(PUBLISH, resource=fleet.events_topic)


def alerts(*names: str) -> frozenset[str]:
    return frozenset(f"Headcount{name}" for name in names)


COMMON = {
    "none: a worker works": Fault(work, end_work),
    "the database is away": Fault(
        stop_the_database, start_the_database, shows=alerts("DatabaseUnavailable", "HeartbeatStopped")
    ),
    "the database is away and nobody works": Fault(
        stop_the_database_of_an_idle_worker, start_the_database, shows=alerts("DatabaseUnavailable", "HeartbeatStopped")
    ),
    "the worker is killed with a job": Fault(
        kill_the_worker, start_another_worker, shows=alerts("NoWorker"), leaves=alerts("WorkersLost", "PoisonJobs")
    ),
    "a message is not delivered for two hours": Fault(
        lose_track_of_a_message, deliver_it, shows=alerts("NothingMoves")
    ),
    "a job never ends and fills the only slot": Fault(
        run_a_job_that_never_ends, end_it, shows=alerts("OldOrchestration", "SlotsSaturated")
    ),
    "jobs fail, hope in vain, are unknown and miss a deadline": Fault(
        let_jobs_fail,
        let_them_succeed,
        shows=alerts("JobsFailing", "RetryStorm", "UnknownJobs", "DeadlinesPassed"),
    ),
    "a handler blocks the event loop": Fault(block_the_loop, unblock_the_loop, shows=alerts("LoopBlocked")),
    "a stop is held up by a handler": Fault(
        stop_a_worker_with_a_handler_that_clings,
        replace_the_stopped_worker,
        shows=alerts("DrainOverBudget"),
        leaves=alerts("NoWorker"),
    ),
    "Pub/Sub refuses the events": Fault(
        refuse_what_is_published, take_what_is_published, shows=alerts("RelayStopped", "PublishFailing")
    ),
    "a producer breaks the contract": Fault(break_the_contract, end_work, shows=alerts("RejectedFlood")),
}
