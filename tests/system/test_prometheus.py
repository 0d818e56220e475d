"""A real Prometheus scrapes the health port, and PromQL agrees with what was reported."""

import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from daemon.job import Settled
from daemon.telemetry.health import HealthServer
from daemon.telemetry.metrics import Metrics
from tests.harness.needs import needs
from tests.harness.waiting import eventually, until
from tests.harness.worker import WorkerProcess, worker_environment
from tests.system.commands import asked, typed
from tests.system.prometheus import Prometheus, scraping
from tests.unit.telemetry.samples import CLAIM, COMPLETED, TRACE, TRACEPARENT, WORKER, failed

JOBS_PER_SECOND = 20


class Healthy:
    def live(self) -> list[str]:
        return []

    def ready(self) -> list[str]:
        return []

    def started(self) -> bool:
        return True


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(["thumbnail"], revision="r7")
    metrics.gauges(slots_total=100, slots_used=lambda: 40, outstanding=lambda: 60, buffered=lambda: 20, drain_budget=6)
    return metrics


@pytest.fixture
def port(metrics: Metrics) -> Iterator[int]:
    server = HealthServer(metrics.registry, Healthy(), "127.0.0.1", 0)
    server.start()
    yield server.port
    server.stop()


@pytest.fixture
def prometheus(port: int, tmp_path: Path) -> Iterator[Prometheus]:
    with scraping(port, folder=tmp_path) as server:
        yield server


def run_job(metrics: Metrics, *, fails: bool = False) -> None:
    claim = replace(CLAIM, traceparent=TRACEPARENT)
    settlement = failed(final=True) if fails else COMPLETED
    metrics.received(None)
    metrics.started(claim, 0.2)
    metrics.finished(claim, settlement, 3.0)
    metrics.settled(claim, settlement, Settled.STORED)


def test_promtool_has_nothing_to_say_about_the_metrics(metrics: Metrics, port: int) -> None:
    promtool = needs("promtool")
    run_job(metrics)
    metrics.repaired("counters", 1)
    metrics.background_loop_failed("relay", RuntimeError(), 1.0)
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()
    own = b"\n".join(line for line in text.splitlines() if b"python_" not in line) + b"\n"
    checked = subprocess.run([promtool, "check", "metrics"], input=own, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_what_is_reported_is_what_promql_says(metrics: Metrics, prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.number("headcount_slots") == 100, within=15)
    for number in range(200):
        run_job(metrics, fails=number % 4 == 0)
    metrics.backlog(7, 3.0)

    ended = 'sum by (outcome) (headcount_jobs_finished_total{job_name="thumbnail",outcome=~"Completed|Errored"})'
    eventually(lambda: prometheus.number(f"sum({ended})") == 200, within=15)
    counted = {row["metric"]["outcome"]: float(row["value"][1]) for row in prometheus.rows(ended)}
    assert counted == {"Completed": 150.0, "Errored": 50.0}
    assert prometheus.number("headcount_relay_backlog") == 7
    assert prometheus.number("headcount_slots_used / headcount_slots") == 0.4
    assert prometheus.number('headcount_worker_info{revision="r7"}') == 1
    assert (
        prometheus.number(
            "headcount_job_duration_seconds_sum{job_name='thumbnail'} / headcount_job_duration_seconds_count"
        )
        == 3.0
    )
    clash = [name for name in ("exported_job", "exported_instance") if prometheus.number(f'{{{name}!=""}}') is not None]
    assert clash == [], "a label of ours collides with a label of the target"


def test_a_rate_agrees_with_the_pace_of_the_reports(metrics: Metrics, prometheus: Prometheus) -> None:
    eventually(lambda: prometheus.number("headcount_jobs_started_total") == 0, within=15)
    done = threading.Event()

    def work() -> None:
        began, count = time.monotonic(), 0
        while not done.wait(0.01):
            for _ in range(int((time.monotonic() - began) * JOBS_PER_SECOND) - count):
                run_job(metrics)
                count += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        query = "sum(rate(headcount_jobs_started_total[5s]))"
        eventually(
            lambda: abs((prometheus.number(query) or 0) - JOBS_PER_SECOND) < 0.1 * JOBS_PER_SECOND,
            within=30,
            what=f"a rate of {JOBS_PER_SECOND} jobs a second",
        )
        assert prometheus.number(
            "histogram_quantile(0.5, sum by (le) (rate(headcount_queue_delay_seconds_bucket[5s])))"
        )
    finally:
        done.set()
        thread.join()


def test_a_trace_is_found_from_the_duration_of_its_job(metrics: Metrics, prometheus: Prometheus) -> None:
    run_job(metrics)
    now = time.time()
    window = {"start": str(now - 60), "end": str(now + 60)}

    def traces() -> set[str]:
        found = prometheus.ask("query_exemplars", query="headcount_job_duration_seconds_bucket", **window)
        return {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}

    eventually(lambda: traces() == {TRACE}, within=15)


def test_the_alert_rules_load_and_a_fault_is_seen(metrics: Metrics, prometheus: Prometheus) -> None:
    metrics.worker_registered(WORKER, "r7")
    rules = prometheus.rules()
    assert len(rules) > 25
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}

    eventually(lambda: prometheus.number("headcount_jobs_rescued_total") == 0, within=15)
    metrics.rescued(WORKER, 3, 1, [])
    eventually(lambda: {"HeadcountPoisonJobs", "HeadcountWorkersLost"} <= prometheus.firing(), within=20)
    assert prometheus.firing() == {"HeadcountPoisonJobs", "HeadcountWorkersLost"}, "nothing else is wrong here"
    assert {rule["health"] for rule in prometheus.rules()} == {"ok"}


async def test_a_worker_counts_what_its_database_holds(
    database_url: str, pubsub: str, project: str, tmp_path: Path
) -> None:
    """Real jobs through a real worker: what PromQL says of it is what the rows say."""
    needs("prometheus")
    environment = worker_environment(database_url, project, pubsub, slots=50)
    typed("provision", environment=environment)
    file = tmp_path / "file.txt"
    file.write_text("three\nshort\nlines\n")
    params = tmp_path / "params.jsonl"
    lines = [f'{{"path": "{file if number % 5 else tmp_path / "missing"}"}}\n' for number in range(500)]
    params.write_text("".join(lines))
    async with WorkerProcess(environment, tmp_path) as worker:
        with scraping(worker.port, folder=tmp_path) as prometheus:
            await until(lambda: prometheus.number('headcount_jobs_started_total{job_name="checksum_file"}') == 0)
            asked("kickoff", "checksum_file", "--params", str(params), "--json", environment=environment)
            ended = 'sum(headcount_jobs_finished_total{job_name="checksum_file",outcome=~"Completed|Errored"})'
            await until(lambda: prometheus.number(ended) == 500, within=60)
            by_outcome = {
                row["metric"]["outcome"]: float(row["value"][1])
                for row in prometheus.rows('headcount_jobs_finished_total{job_name="checksum_file"}')
            }
            with psycopg.connect(database_url) as connection:
                stored = dict(connection.execute("SELECT status, count(*) FROM job GROUP BY status").fetchall())
            assert {word: count for word, count in by_outcome.items() if count} == stored
            assert stored == {"Completed": 400, "Errored": 100}
            assert prometheus.number("sum(headcount_job_duration_seconds_count{job_name='checksum_file'})") == 500
            assert prometheus.number('sum(headcount_batch_items_sum{operation="settle"})') == 500
            assert prometheus.number("headcount_slots") == 50
            await until(lambda: prometheus.number("headcount_slots_used") == 0)
            await until(lambda: prometheus.number('headcount_messages_published_total{type="event"}') == 1)
            assert prometheus.number("time() - headcount_heartbeat_timestamp_seconds") < 10  # type: ignore[operator]
            assert prometheus.firing() == set()
