"""The rarer faults that alerts are tried on: bugs in rows, handlers that never stop, a Pub/Sub that wavers.

Used by test_alert_faults.py beside the common ones. A bug that is not there is made by writing to the tables, as a bug
would; what the worker does about it is its own.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import grpc

from tests.harness.waiting import until
from tests.system.alert_faults import Fault, alerts
from tests.system.alert_fleet import Fleet

TTL = 3
PAUSE = 0.5
MANY = 12
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'unwelcome' USING ERRCODE = '22023'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON job FOR EACH ROW
    WHEN (NEW.params ->> 'unwelcome' IS NOT NULL) EXECUTE FUNCTION refuse();
"""
HOLD_UNASKED = """
UPDATE job SET worker_id = (SELECT id FROM worker), attempt = 1, publish_at = NULL, started_at = now()
WHERE status = 'InProgress' AND worker_id IS NULL
"""


# -- the worker ----------------------------------------------------------------------------------


async def stand_still(fleet: Fleet) -> None:
    """Another worker, which nobody scrapes, declares the first one dead."""
    neighbour = await fleet.new_neighbour()
    regular = f"SELECT 1 FROM worker WHERE regular_since < now() - interval '{TTL} s' HAVING count(*) = 2"
    await until(lambda: fleet.rows(regular), within=20, what="both workers have been regular")
    fleet.worker.pause()
    await until(lambda: fleet.rows("SELECT 1 FROM worker HAVING count(*) = 1"), within=20, what="one is buried")
    neighbour.terminate()
    await neighbour.until_exit()


async def go_on(fleet: Fleet) -> None:
    fleet.worker.resume()


async def misbehave(fleet: Fleet) -> None:
    await fleet.publish({"file": str(fleet.folder / "heard")}, job_name="ignore")
    await fleet.rows(REFUSE)
    await fleet.until_fired(alerts("HandlersStuck"), time.time())
    await fleet.publish({"unwelcome": True}, job_name="nap")
    await fleet.publish({}, topic=f"{fleet.topic}-dead", job_name="nap")


async def behave(fleet: Fleet) -> None:
    (fleet.folder / "heard").touch()
    await fleet.rows("DROP TRIGGER refuse ON job; DROP FUNCTION refuse")


# -- rows ----------------------------------------------------------------------------------------


async def contradict_the_rows(fleet: Fleet) -> None:
    """A counter that no row explains, and jobs in the worker's name that it never heard of."""
    fleet.control.pause_delivery(fleet.subscription)
    instances = fleet.folder / "naps.jsonl"
    instances.write_text("{}\n" * MANY)
    await fleet.kick_off("nap", "--params", str(instances))
    await fleet.rows("UPDATE orchestration SET completed = 1 WHERE completed_at IS NULL")
    await fleet.rows(HOLD_UNASKED)


async def deliver_them(fleet: Fleet) -> None:
    fleet.control.resume_delivery(fleet.subscription)


# -- messages ------------------------------------------------------------------------------------


async def expire_leases(fleet: Fleet) -> None:
    """A lease is lost once: the second delivery is acked, for the job is held."""

    async def step() -> None:
        await fleet.publish({"seconds": 2}, count=4, job_name="nap")
        await asyncio.to_thread(fleet.control.expire_leases, fleet.subscription)

    fleet.begin_again_and_again(step, PAUSE)


async def end_streams(fleet: Fleet) -> None:
    async def step() -> None:
        with suppress(grpc.RpcError):  # the fault goes on when one call of it is lost
            await asyncio.to_thread(fleet.control.drop_streams, fleet.subscription)

    fleet.begin_again_and_again(step, PAUSE)


async def leave_it_alone(fleet: Fleet) -> None:
    await fleet.end_load()


RARITIES = {
    "a worker stands still and is declared dead": Fault(
        stand_still, go_on, shows=alerts("NoWorker"), leaves=alerts("WorkerDeclaredDead")
    ),
    "a handler ignores its cancel, Postgres refuses a row, Pub/Sub gives a message up": Fault(
        misbehave, behave, shows=alerts("HandlersStuck", "BatchItemsRejected", "DeadLetters")
    ),
    "the rows contradict each other and the worker": Fault(
        contradict_the_rows, deliver_them, shows=alerts("Repairs", "JobsReleased")
    ),
    "Pub/Sub forgets leases": Fault(expire_leases, leave_it_alone, shows=alerts("LeasesExpire")),
    "Pub/Sub ends every stream": Fault(end_streams, leave_it_alone, shows=alerts("StreamsEnd")),
}
