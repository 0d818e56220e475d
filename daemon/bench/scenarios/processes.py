"""Processes: `headcount run --processes 2` against one, on the same backlog.

Two cores carry two workers, Postgres and Pub/Sub here, so twice the rate is out of reach; the bar says so.
"""

from __future__ import annotations

from daemon.bench.figures import Report
from daemon.bench.load import publish
from daemon.bench.measurement import Bench, Measurement, measure_backlog


def processes(bench: Bench) -> Report:
    """The ratio of two to one, measured one, two, one."""
    jobs = bench.size(20_000, 5_000)
    report = Report("processes")
    before, two, after = (_one(bench, jobs, count) for count in (1, 2, 1))
    one = (before.per_second + after.per_second) / 2
    report.put("one process", one, "/s")
    report.put("two processes", two.per_second, "/s")
    report.put("ratio", two.per_second / one, least=1.3)
    report.put("CPU of both workers", two.cost.worker_cpu / jobs * 1e6, "us/job")
    return report


def _one(bench: Bench, jobs: int, count: int) -> Measurement:
    environment = bench.stack.environment()
    publish(environment, "noop", jobs)
    environment.hold_back(environment.subscription)
    measured = measure_backlog(bench, environment, jobs, processes=count)
    bench.stack.drop(environment)
    return measured
