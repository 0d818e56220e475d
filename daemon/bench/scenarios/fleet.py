"""Fleet: up to 64 simulated workers on one database, and what a real worker costs it while it is idle.

Where does the rate bend, and why? Lock waits are sampled from pg_stat_activity while all workers count in one hot
orchestration, and while each has its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from uuid import uuid4

import psutil

from daemon.bench.figures import Report
from daemon.bench.measurement import Bench
from daemon.bench.meter import Meter, cpu_of
from daemon.bench.stack import Environment
from daemon.bench.worker import WorkerUnderTest

PROCESSES = 4
BATCH = 20
SAMPLE_SECONDS = 0.02
WAITS = (
    "SELECT coalesce(wait_event_type || '/' || wait_event, 'running'), count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' GROUP BY 1"
)


def fleet(bench: Bench) -> Report:
    """Rates and waits by the number of workers."""
    report = Report("fleet")
    seconds = bench.size(15, 3)
    for workers in (1, 4, 16, 64):
        for hot in (False, True):
            _swarm(bench, report, workers, hot, seconds)
    _idle(bench, report, bench.size(20, 5))
    return report


def _swarm(bench: Bench, report: Report, workers: int, hot: bool, seconds: int) -> None:
    environment = bench.stack.environment()
    bench.say(f"fleet: {workers} workers, {'one hot orchestration' if hot else 'an orchestration each'}")
    counter, over = Counter[str](), threading.Event()
    sampler = threading.Thread(target=_sample, args=(environment, counter, over))
    sampler.start()
    postgres = bench.stack.postgres.pid
    assert postgres is not None
    cpu = cpu_of(psutil.Process(postgres))
    figures = _run(environment, workers, str(uuid4()) if hot else None, seconds)
    spent = cpu_of(psutil.Process(postgres)) - cpu
    over.set()
    sampler.join()
    bench.stack.drop(environment)
    what = f"{workers} workers, {'one orchestration' if hot else 'one each'}"
    jobs = sum(one["jobs"] for one in figures)
    report.put(what, jobs / seconds, "/s")
    report.put(f"{what}: Postgres CPU", spent / jobs * 1e6, "us/job")
    report.put(f"{what}: settlement p50", max(one["settle_p50"] for one in figures) * 1e3, "ms")
    report.put(f"{what}: settlement p99", max(one["settle_p99"] for one in figures) * 1e3, "ms")
    samples = sum(counter.values()) or 1
    for kind in ("Lock", "LWLock", "IO"):
        waiting = sum(count for name, count in counter.items() if name.startswith(f"{kind}/"))
        report.put(f"{what}: busy connections waiting for {kind}", 100 * waiting / samples, "%")


def _run(environment: Environment, workers: int, hot: str | None, seconds: int) -> list[dict[str, float]]:
    processes = min(PROCESSES, workers)
    children = []
    for number in range(processes):
        arguments = {
            "url": environment.url,
            "workers": workers // processes,
            "batch": BATCH,
            "seconds": seconds,
            "hot": hot,
            "first": number * 1_000_000 // processes,
        }
        command = [sys.executable, "-P", "-m", "daemon.bench.baselines.simulated_workers", json.dumps(arguments)]
        children.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
    return [json.loads(child.communicate(timeout=seconds + 60)[0].splitlines()[-1]) for child in children]


def _sample(environment: Environment, counter: Counter[str], over: threading.Event) -> None:
    with environment.connect() as connection:
        while not over.wait(SAMPLE_SECONDS):
            for name, count in connection.execute(WAITS).fetchall():
                counter[str(name)] += int(str(count))


def _idle(bench: Bench, report: Report, seconds: int) -> None:
    """What workers with nothing to do ask of the database: heartbeat, comparison, relay, rescue, closing."""
    for count in (1, 4):
        environment = bench.stack.environment()
        with ExitStack() as started:
            workers = [
                started.enter_context(WorkerUnderTest(environment, bench.stack.logs / f"idle-{n}.log"))
                for n in range(count)
            ]
            time.sleep(3)
            meter = Meter(bench.stack, environment, [worker.process for worker in workers])
            time.sleep(seconds)
            connections = meter.look(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'headcount'"
            )
            cost = meter.stop()
        bench.stack.drop(environment)
        share = count * seconds
        what = f"{count} idle worker{'s' if count > 1 else ''}, each"
        report.put(f"{what}: statements", cost.statements / share, "/s")
        report.put(f"{what}: Postgres CPU", cost.postgres_cpu / share * 1e3, "ms/s")
        report.put(f"{what}: worker CPU", cost.worker_cpu / share * 1e3, "ms/s")
        report.put(f"{what}: connections", float(str(connections[0])) / count, most=4)
