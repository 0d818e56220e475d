"""Soak: a million jobs through one worker; its memory must not grow.

Published in waves, so that the broker's memory is not what is measured. Memory is the worker's resident size after
each wave, without a backlog.
"""

from __future__ import annotations

import time

import psutil

from daemon.bench.figures import Report
from daemon.bench.load import publish
from daemon.bench.measurement import DONE, Bench
from daemon.bench.meter import memory_of
from daemon.bench.worker import BenchFailed, WorkerUnderTest

WAVES = 20
TIMEOUT = 1_800.0


def soak(bench: Bench) -> Report:
    """Memory at the end against memory after a tenth."""
    jobs = bench.size(1_000_000, 20_000)
    wave = jobs // WAVES
    report = Report("soak")
    environment = bench.stack.environment()
    sizes: list[int] = []
    began = time.monotonic()
    with (
        WorkerUnderTest(environment, bench.stack.logs / "worker.log", slots=400) as worker,
        environment.connect() as connection,
    ):
        for number in range(1, WAVES + 1):
            publish(environment, "noop", wave)
            done = DONE.format(jobs=number * wave, name="noop").encode()
            until = time.monotonic() + TIMEOUT
            while not (row := connection.execute(done).fetchone()) or not row[0]:
                if time.monotonic() > until:
                    raise BenchFailed(f"wave {number} of the soak was not done in time")
                time.sleep(0.5)
            sizes.append(memory_of(psutil.Process(worker.pid)))
    seconds = time.monotonic() - began
    report.put("jobs", jobs)
    report.put("durable jobs, publishing included", jobs / seconds, "/s")
    report.put("memory at 10 %", sizes[WAVES // 10 - 1] / 2**20, "MiB")
    report.put("memory at 50 %", sizes[WAVES // 2 - 1] / 2**20, "MiB")
    report.put("memory at the end", sizes[-1] / 2**20, "MiB")
    report.put("ratio of memory, end to 10 %", sizes[-1] / sizes[WAVES // 10 - 1], most=1.1)
    bench.stack.drop(environment)
    return report
