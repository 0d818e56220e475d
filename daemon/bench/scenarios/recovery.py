"""Recovery: a worker with full slots is killed; how long until another one has run its jobs?

The rescue can't be earlier than the time to live of a heartbeat; what comes on top is ours.
"""

from __future__ import annotations

import time

from daemon.bench.figures import Report
from daemon.bench.load import publish
from daemon.bench.measurement import DONE, Bench
from daemon.bench.worker import BenchFailed, WorkerUnderTest

TTL = 6.0
JOBS = 100
NAP = 8.0  # longer than another worker needs to start
TIMEOUT = 90.0
HELD = "SELECT count(*) FROM job WHERE worker_id IS NOT NULL"


def recovery(bench: Bench) -> Report:
    """Seconds from the kill to the last outcome, with a heartbeat's time to live of 6 s."""
    report = Report("recovery")
    environment = bench.stack.environment()
    logs = bench.stack.logs
    with (
        environment.connect() as connection,
        WorkerUnderTest(environment, logs / "worker.log", worker_ttl_seconds=TTL) as doomed,
    ):
        publish(environment, "nap", JOBS, per_orchestration=JOBS, params={"seconds": NAP})
        while (row := connection.execute(HELD).fetchone()) and int(str(row[0])) < JOBS:
            time.sleep(0.02)
        with WorkerUnderTest(environment, logs / "worker-2.log", worker_ttl_seconds=TTL):
            doomed.kill()
            began = time.monotonic()
            done = DONE.format(jobs=JOBS, name="nap").encode()
            while not (row := connection.execute(done).fetchone()) or not row[0]:
                if time.monotonic() - began > TIMEOUT:
                    raise BenchFailed("the jobs of a killed worker were not rescued")
                time.sleep(0.05)
            seconds = time.monotonic() - began
    report.put(f"{JOBS} jobs of a killed worker done after", seconds, "s")
    report.put("of that the heartbeat's time to live", TTL, "s")
    report.put("of that the jobs themselves", NAP, "s")
    report.put("the rest is ours", seconds - TTL - NAP, "s")
    bench.stack.drop(environment)
    return report
