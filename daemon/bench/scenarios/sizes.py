"""Sizes: one orchestration of 100,000, thousands of single jobs, large params, a million finished jobs in the tables.

The cost of a job must not depend on any of these. Each is compared with the plain case measured before and after it.
"""

from __future__ import annotations

from daemon.bench.figures import Report
from daemon.bench.load import publish
from daemon.bench.measurement import Bench, Measurement, measure_backlog
from daemon.bench.stack import TEMPLATE, BenchStack

SLOTS = 400
PLAIN = 1_000

PAST_ORCHESTRATIONS = """
INSERT INTO orchestration (id, job_name, total, completed, finishes, created_at, completed_at, outcome,
                           event_published_at)
SELECT md5('o' || n)::uuid, 'past', 1000, 1000, 1000, now() - n * interval '1 minute', now() - n * interval '1 minute',
       'Completed', now()
FROM generate_series(1, {count}) n
"""
PAST_JOBS = """
INSERT INTO job (id, orchestration_id, index, job_name, params, status, attempt, finish_number, created_at, started_at,
                 finished_at, message_id, result)
SELECT gen_random_uuid(), md5('o' || o)::uuid, i, 'past', '{{"path": "some/file.txt"}}', 'Completed', 1, i + 1,
       now() - o * interval '1 minute', now() - o * interval '1 minute', now() - o * interval '1 minute',
       (o * 1000 + i)::text, '{{"bytes": 12345}}'
FROM generate_series(1, {count}) o, generate_series(0, 999) i
"""


def fan_out(bench: Bench) -> Report:
    """One orchestration of 100,000 against 100 of 1,000."""
    jobs = bench.size(100_000, 5_000)
    report = Report("fan-out")
    before = _one(bench, jobs, PLAIN)
    large = _one(bench, jobs, jobs)
    after = _one(bench, jobs, PLAIN)
    return _compare(report, f"one orchestration of {jobs:,}", large, before, after, least=0.9)


def many_small(bench: Bench) -> Report:
    """As many orchestrations as jobs; each also publishes its event."""
    jobs = bench.size(20_000, 5_000)
    report = Report("many small")
    before = _one(bench, jobs, PLAIN)
    small = _one(bench, jobs, 1)
    after = _one(bench, jobs, PLAIN)
    return _compare(report, f"{jobs:,} orchestrations of 1", small, before, after)


def big_params(bench: Bench) -> Report:
    """Params of 10 kB and of 100 kB."""
    report = Report("big params")
    for kilobytes, jobs in ((10, bench.size(10_000, 2_000)), (100, bench.size(2_000, 300))):
        measured = _one(bench, jobs, PLAIN, params={"text": "x" * (kilobytes * 1_000)})
        report.put(f"params of {kilobytes} kB", measured.per_second, "/s")
        report.put(f"params of {kilobytes} kB a second", measured.per_second * kilobytes / 1_000, "MB/s")
        report.put(f"WAL of {kilobytes} kB params", measured.cost.wal / jobs, "bytes/job")
        report.put(f"memory with {kilobytes} kB params", measured.cost.memory / 2**20, "MiB")
    return report


def history(bench: Bench) -> Report:
    """The same with a million finished jobs in the tables, for long enough that their indexes are read in only once."""
    jobs, past = bench.size(60_000, 5_000), bench.size(1_000, 100)
    report = Report("history")
    template = _with_history(bench.stack, past)
    before = _one(bench, jobs, PLAIN)
    full = _one(bench, jobs, PLAIN, template=template)
    after = _one(bench, jobs, PLAIN)
    bench.stack.postgres.drop_database(template)
    return _compare(report, f"{past * 1_000:,} finished jobs in the tables", full, before, after, least=0.95)


def _with_history(stack: BenchStack, orchestrations: int) -> str:
    environment = stack.environment()
    with environment.connect() as connection:
        connection.execute(PAST_ORCHESTRATIONS.format(count=orchestrations).encode())
        connection.execute(PAST_JOBS.format(count=orchestrations).encode())
        connection.execute("VACUUM (ANALYZE, FREEZE)")
        connection.execute("CHECKPOINT")
    return environment.database


def _one(
    bench: Bench, jobs: int, per_orchestration: int, params: object = None, template: str = TEMPLATE
) -> Measurement:
    environment = bench.stack.environment(template)
    publish(environment, "noop", jobs, per_orchestration=per_orchestration, params=params)
    environment.hold_back(environment.subscription)
    measured = measure_backlog(bench, environment, jobs, slots=SLOTS)
    bench.stack.drop(environment)
    return measured


def _compare(
    report: Report, what: str, special: Measurement, before: Measurement, after: Measurement, least: float | None = None
) -> Report:
    plain = (before.per_second + after.per_second) / 2
    report.put(what, special.per_second, "/s")
    report.put("orchestrations of 1,000, before", before.per_second, "/s")
    report.put("orchestrations of 1,000, after", after.per_second, "/s")
    report.put("ratio", special.per_second / plain, least=least)
    cpu = (before.cost.postgres_cpu + after.cost.postgres_cpu) / 2
    report.put("ratio of Postgres CPU", special.cost.postgres_cpu / cpu)
    report.put("WAL", special.cost.wal / special.jobs, "bytes/job")
    report.put("peak memory of the worker", special.cost.memory / 2**20, "MiB")
    return report
