"""Processes: `headcount run --processes 2` against one, on the same backlog.

Two cores carry two workers, Postgres and Pub/Sub here, so twice the rate is out of reach; the bar says so.
"""

from __future__ import annotations

from daemon.bench.figures import Sheet
from daemon.bench.orders import publish
from daemon.bench.shift import Bench, Shift, work_off


def processes(bench: Bench) -> Sheet:
    """The ratio of two to one, measured one, two, one."""
    jobs = bench.size(20_000, 5_000)
    sheet = Sheet("processes")
    before, two, after = (_one(bench, jobs, count) for count in (1, 2, 1))
    one = (before.per_second + after.per_second) / 2
    sheet.put("one process", one, "/s")
    sheet.put("two processes", two.per_second, "/s")
    sheet.put("ratio", two.per_second / one, least=1.3)
    sheet.put("CPU of both workers", two.cost.worker_cpu / jobs * 1e6, "us/job")
    return sheet


def _one(bench: Bench, jobs: int, count: int) -> Shift:
    site = bench.stack.site()
    publish(site, "noop", jobs)
    site.hold_back(site.subscription)
    shift = work_off(bench, site, jobs, processes=count)
    bench.stack.drop(site)
    return shift
