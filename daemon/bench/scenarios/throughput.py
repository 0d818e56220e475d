"""Throughput: no-op jobs, durable, published directly, against the raw client and the bare database.

The main promise. Run twice, with the default of 100 slots and with 1,000: slots decide how large a batch can grow, and
short jobs are given many.
"""

from __future__ import annotations

from daemon.bench.figures import Sheet, mean
from daemon.bench.floors import measure
from daemon.bench.orders import publish
from daemon.bench.shift import Bench, Shift, work_off
from daemon.bench.stack import Site

PER_ORCHESTRATION = 1_000
FLOOR_BATCH = 100

Floor = dict[str, float]


def throughput(bench: Bench) -> Sheet:
    """With the default settings."""
    return _measured(bench, Sheet("throughput"), slots=100)


def throughput_wide(bench: Bench) -> Sheet:
    """With 1,000 slots."""
    return _measured(bench, Sheet("throughput, 1,000 slots"), slots=1_000)


def _measured(bench: Bench, sheet: Sheet, slots: int) -> Sheet:
    jobs = bench.size(40_000, 5_000)
    site = bench.stack.site()
    spare = [site.add_subscription(f"floor-{number}") for number in range(2)]
    publish(site, "noop", jobs, per_orchestration=PER_ORCHESTRATION)
    site.hold_back(site.subscription)
    before = _floors(bench, site, spare[0], jobs)
    shift = work_off(bench, site, jobs, slots=slots)
    after = _floors(bench, site, spare[1], jobs)
    _write_down(sheet, shift, [before[0], after[0]], [before[1], after[1]])
    _sizes(sheet, site, jobs)
    bench.stack.drop(site)
    return sheet


def _floors(bench: Bench, site: Site, subscription: str, jobs: int) -> tuple[Floor, Floor]:
    raw = measure("drain", pubsub=site.pubsub, subscription=subscription, messages=jobs)
    other = bench.stack.site()
    bare = measure("settlement", url=other.url, jobs=jobs, per_orchestration=PER_ORCHESTRATION, batch=FLOOR_BATCH)
    bench.stack.drop(other)
    return raw, bare


def _write_down(sheet: Sheet, shift: Shift, raw: list[Floor], bare: list[Floor]) -> None:
    jobs, cost = shift.jobs, shift.cost
    sheet.put("durable jobs", shift.per_second, "/s")
    sheet.put("raw client drain", mean(raw, "per_second"), "/s")
    sheet.put("bare claim and settlement", mean(bare, "per_second"), "/s")
    sheet.put("ratio to the raw drain", shift.per_second / mean(raw, "per_second"), least=0.45)
    sheet.put("ratio to the bare database", shift.per_second / mean(bare, "per_second"), least=0.4)
    sheet.put("worker CPU", cost.worker_cpu / jobs * 1e6, "us/job")
    sheet.put("raw client CPU", mean(raw, "cpu") * 1e6, "us/message")
    sheet.put("ratio of CPU to the raw client", cost.worker_cpu / jobs / mean(raw, "cpu"), most=2.2)
    sheet.put("Postgres CPU", cost.postgres_cpu / jobs * 1e6, "us/job")
    sheet.put("Pub/Sub server CPU", cost.broker_cpu / jobs * 1e6, "us/job")
    sheet.put("commits", cost.commits / jobs, "/job", most=0.05)
    sheet.put("WAL", cost.wal / jobs, "bytes/job", most=1_500)
    sheet.put("statements per batch", shift.statements_per_batch)
    for lane in ("claim", "settle"):
        sheet.put(f"median batch, {lane}", shift.metrics.median_batch(lane), least=50 if jobs >= 20_000 else None)
        sheet.put(f"mean batch, {lane}", shift.metrics.mean_batch(lane))
    sheet.put("batches split", shift.metrics.value("headcount_batch_splits_total"), most=0)
    sheet.put("HOT updates", cost.hot * 100, "%")
    sheet.put("peak memory of the worker", cost.memory / 2**20, "MiB")


def _sizes(sheet: Sheet, site: Site, jobs: int) -> None:
    with site.connect() as connection:
        row = connection.execute("SELECT pg_table_size('job'), pg_indexes_size('job')").fetchone()
        indexes = connection.execute(
            "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index"
            " WHERE indrelid = 'job'::regclass ORDER BY 2 DESC"
        ).fetchall()
    assert row is not None
    sheet.put("table on disk", int(str(row[0])) / jobs, "bytes/job")
    sheet.put("indexes on disk", int(str(row[1])) / jobs, "bytes/job")
    for name, size in indexes:
        sheet.put(f"index {name}", int(str(size)) / jobs, "bytes/job")
