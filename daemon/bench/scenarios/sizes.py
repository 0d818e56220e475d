"""Sizes: one orchestration of 100,000, thousands of single jobs, large params, a million finished jobs in the tables.

The cost of a job must not depend on any of these. Each is compared with the plain case measured before and after it.
"""

from __future__ import annotations

from daemon.bench.figures import Sheet
from daemon.bench.orders import publish
from daemon.bench.shift import Bench, Shift, work_off
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


def fan_out(bench: Bench) -> Sheet:
    """One orchestration of 100,000 against 100 of 1,000."""
    jobs = bench.size(100_000, 5_000)
    sheet = Sheet("fan-out")
    before = _one(bench, jobs, PLAIN)
    large = _one(bench, jobs, jobs)
    after = _one(bench, jobs, PLAIN)
    return _compare(sheet, f"one orchestration of {jobs:,}", large, before, after, least=0.9)


def many_small(bench: Bench) -> Sheet:
    """As many orchestrations as jobs; each also publishes its event."""
    jobs = bench.size(20_000, 5_000)
    sheet = Sheet("many small")
    before = _one(bench, jobs, PLAIN)
    small = _one(bench, jobs, 1)
    after = _one(bench, jobs, PLAIN)
    return _compare(sheet, f"{jobs:,} orchestrations of 1", small, before, after)


def big_params(bench: Bench) -> Sheet:
    """Params of 10 kB and of 100 kB."""
    sheet = Sheet("big params")
    for kilobytes, jobs in ((10, bench.size(10_000, 2_000)), (100, bench.size(2_000, 300))):
        shift = _one(bench, jobs, PLAIN, params={"text": "x" * (kilobytes * 1_000)})
        sheet.put(f"params of {kilobytes} kB", shift.per_second, "/s")
        sheet.put(f"params of {kilobytes} kB a second", shift.per_second * kilobytes / 1_000, "MB/s")
        sheet.put(f"WAL of {kilobytes} kB params", shift.cost.wal / jobs, "bytes/job")
        sheet.put(f"memory with {kilobytes} kB params", shift.cost.memory / 2**20, "MiB")
    return sheet


def history(bench: Bench) -> Sheet:
    """The same with a million finished jobs in the tables, for long enough that their indexes are read in only once."""
    jobs, past = bench.size(60_000, 5_000), bench.size(1_000, 100)
    sheet = Sheet("history")
    template = _with_history(bench.stack, past)
    before = _one(bench, jobs, PLAIN)
    full = _one(bench, jobs, PLAIN, template=template)
    after = _one(bench, jobs, PLAIN)
    bench.stack.postgres.drop_database(template)
    return _compare(sheet, f"{past * 1_000:,} finished jobs in the tables", full, before, after, least=0.95)


def _with_history(stack: BenchStack, orchestrations: int) -> str:
    site = stack.site()
    with site.connect() as connection:
        connection.execute(PAST_ORCHESTRATIONS.format(count=orchestrations).encode())
        connection.execute(PAST_JOBS.format(count=orchestrations).encode())
        connection.execute("VACUUM (ANALYZE, FREEZE)")
        connection.execute("CHECKPOINT")
    return site.database


def _one(bench: Bench, jobs: int, per_orchestration: int, params: object = None, template: str = TEMPLATE) -> Shift:
    site = bench.stack.site(template)
    publish(site, "noop", jobs, per_orchestration=per_orchestration, params=params)
    site.hold_back(site.subscription)
    shift = work_off(bench, site, jobs, slots=SLOTS)
    bench.stack.drop(site)
    return shift


def _compare(sheet: Sheet, what: str, special: Shift, before: Shift, after: Shift, least: float | None = None) -> Sheet:
    plain = (before.per_second + after.per_second) / 2
    sheet.put(what, special.per_second, "/s")
    sheet.put("orchestrations of 1,000, before", before.per_second, "/s")
    sheet.put("orchestrations of 1,000, after", after.per_second, "/s")
    sheet.put("ratio", special.per_second / plain, least=least)
    cpu = (before.cost.postgres_cpu + after.cost.postgres_cpu) / 2
    sheet.put("ratio of Postgres CPU", special.cost.postgres_cpu / cpu)
    sheet.put("WAL", special.cost.wal / special.jobs, "bytes/job")
    sheet.put("peak memory of the worker", special.cost.memory / 2**20, "MiB")
    return sheet
