"""Recovery: a worker with full slots is killed; how long until another one has run its jobs?

The rescue can't be earlier than the time to live of a heartbeat; what comes on top is ours.
"""

from __future__ import annotations

import time

from daemon.bench.figures import Sheet
from daemon.bench.hired import BenchFailed, Hired
from daemon.bench.orders import publish
from daemon.bench.shift import DONE, Bench

TTL = 6.0
JOBS = 100
NAP = 8.0  # longer than another worker needs to start
PATIENCE = 90.0
HELD = "SELECT count(*) FROM job WHERE worker_id IS NOT NULL"


def recovery(bench: Bench) -> Sheet:
    """Seconds from the kill to the last outcome, with a heartbeat's time to live of 6 s."""
    sheet = Sheet("recovery")
    site = bench.stack.site()
    logs = bench.stack.logs
    with site.connect() as connection, Hired(site, logs / "worker.log", worker_ttl_seconds=TTL) as doomed:
        publish(site, "nap", JOBS, per_orchestration=JOBS, params={"seconds": NAP})
        while (row := connection.execute(HELD).fetchone()) and int(str(row[0])) < JOBS:
            time.sleep(0.02)
        with Hired(site, logs / "worker-2.log", worker_ttl_seconds=TTL):
            doomed.kill()
            began = time.monotonic()
            done = DONE.format(jobs=JOBS, name="nap").encode()
            while not (row := connection.execute(done).fetchone()) or not row[0]:
                if time.monotonic() - began > PATIENCE:
                    raise BenchFailed("the jobs of a killed worker were not rescued")
                time.sleep(0.05)
            seconds = time.monotonic() - began
    sheet.put(f"{JOBS} jobs of a killed worker done after", seconds, "s")
    sheet.put("of that the heartbeat's time to live", TTL, "s")
    sheet.put("of that the jobs themselves", NAP, "s")
    sheet.put("the rest is ours", seconds - TTL - NAP, "s")
    bench.stack.drop(site)
    return sheet
