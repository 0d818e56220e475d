"""Throughput: no-op jobs, durable, published directly, against the raw client and the bare database.

The main promise. Run twice, with the default of 100 slots and with 1,000: slots decide how large a batch can grow, and
short jobs are given many.
"""

from __future__ import annotations

from daemon.bench.baselines import measure
from daemon.bench.figures import Report, mean
from daemon.bench.load import publish
from daemon.bench.measurement import Bench, Measurement, measure_backlog
from daemon.bench.stack import Environment

PER_ORCHESTRATION = 1_000
FLOOR_BATCH = 100

Baseline = dict[str, float]


def throughput(bench: Bench) -> Report:
    """With the default settings."""
    return _measured(bench, Report("throughput"), slots=100)


def throughput_wide(bench: Bench) -> Report:
    """With 1,000 slots."""
    return _measured(bench, Report("throughput, 1,000 slots"), slots=1_000)


def _measured(bench: Bench, report: Report, slots: int) -> Report:
    jobs = bench.size(40_000, 5_000)
    environment = bench.stack.environment()
    spare = [environment.add_subscription(f"baseline-{number}") for number in range(2)]
    publish(environment, "noop", jobs, per_orchestration=PER_ORCHESTRATION)
    environment.hold_back(environment.subscription)
    before = _baselines(bench, environment, spare[0], jobs)
    measured = measure_backlog(bench, environment, jobs, slots=slots)
    after = _baselines(bench, environment, spare[1], jobs)
    _write_down(report, measured, [before[0], after[0]], [before[1], after[1]])
    _sizes(report, environment, jobs)
    bench.stack.drop(environment)
    return report


def _baselines(bench: Bench, environment: Environment, subscription: str, jobs: int) -> tuple[Baseline, Baseline]:
    raw = measure("drain", pubsub=environment.pubsub, subscription=subscription, messages=jobs)
    other = bench.stack.environment()
    bare = measure("settlement", url=other.url, jobs=jobs, per_orchestration=PER_ORCHESTRATION, batch=FLOOR_BATCH)
    bench.stack.drop(other)
    return raw, bare


def _write_down(report: Report, measured: Measurement, raw: list[Baseline], bare: list[Baseline]) -> None:
    jobs, cost = measured.jobs, measured.cost
    report.put("durable jobs", measured.per_second, "/s")
    report.put("raw client drain", mean(raw, "per_second"), "/s")
    report.put("bare claim and settlement", mean(bare, "per_second"), "/s")
    report.put("ratio to the raw drain", measured.per_second / mean(raw, "per_second"), least=0.45)
    report.put("ratio to the bare database", measured.per_second / mean(bare, "per_second"), least=0.4)
    report.put("worker CPU", cost.worker_cpu / jobs * 1e6, "us/job")
    report.put("raw client CPU", mean(raw, "cpu") * 1e6, "us/message")
    report.put("ratio of CPU to the raw client", cost.worker_cpu / jobs / mean(raw, "cpu"), most=2.2)
    report.put("Postgres CPU", cost.postgres_cpu / jobs * 1e6, "us/job")
    report.put("Pub/Sub server CPU", cost.broker_cpu / jobs * 1e6, "us/job")
    report.put("commits", cost.commits / jobs, "/job", most=0.05)
    report.put("WAL", cost.wal / jobs, "bytes/job", most=1_500)
    report.put("statements per batch", measured.statements_per_batch)
    for lane in ("claim", "settle"):
        report.put(f"median batch, {lane}", measured.metrics.median_batch(lane), least=50 if jobs >= 20_000 else None)
        report.put(f"mean batch, {lane}", measured.metrics.mean_batch(lane))
    report.put("batches split", measured.metrics.value("headcount_batch_splits_total"), most=0)
    report.put("HOT updates", cost.hot * 100, "%")
    report.put("peak memory of the worker", cost.memory / 2**20, "MiB")


def _sizes(report: Report, environment: Environment, jobs: int) -> None:
    with environment.connect() as connection:
        row = connection.execute("SELECT pg_table_size('job'), pg_indexes_size('job')").fetchone()
        indexes = connection.execute(
            "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index"
            " WHERE indrelid = 'job'::regclass ORDER BY 2 DESC"
        ).fetchall()
    assert row is not None
    report.put("table on disk", int(str(row[0])) / jobs, "bytes/job")
    report.put("indexes on disk", int(str(row[1])) / jobs, "bytes/job")
    for name, size in indexes:
        report.put(f"index {name}", int(str(size)) / jobs, "bytes/job")
