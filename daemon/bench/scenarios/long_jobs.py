"""Long jobs: ten slots, jobs of five seconds, a deep backlog. Are the slots busy, and does a newcomer get its share?

Slots are busy while a handler runs in them: claims, settlements and the way of the next message are time lost.
"""

from __future__ import annotations

import time

from daemon.bench.figures import Report
from daemon.bench.load import publish
from daemon.bench.measurement import Bench
from daemon.bench.stack import Environment
from daemon.bench.worker import WorkerUnderTest

SLOTS = 10
NAP = 5.0
TIMEOUT = 20.0


def long_jobs(bench: Bench) -> Report:
    """Slots busy, and the seconds until a second worker has all its slots filled."""
    seconds = bench.size(60, 12)
    report = Report("long jobs")
    environment = bench.stack.environment()
    publish(environment, "nap", 60 * SLOTS, per_orchestration=60 * SLOTS, params={"seconds": NAP})
    logs = bench.stack.logs
    with WorkerUnderTest(environment, logs / "worker.log", slots=SLOTS, prefetch=0) as first:
        _wait_full(first)
        report.put("slots busy", _busy(environment, seconds) * 100, "%", least=97)
        began = time.monotonic()
        with WorkerUnderTest(environment, logs / "worker-2.log", slots=SLOTS, prefetch=0) as second:
            _wait_full(second)
            report.put("a second worker, started then, has its share after", time.monotonic() - began, "s", most=10)
    bench.stack.drop(environment)
    return report


def _busy(environment: Environment, seconds: float) -> float:
    """Handlers finished in a window, times their length, against the window. Starts and ends on the jobs' own beat."""
    ended = "SELECT count(*), extract(epoch FROM max(finished_at)) FROM job WHERE status = 'Completed'"
    with environment.connect() as connection:
        count, at = _row(connection.execute(ended).fetchone())
        while count < SLOTS:
            time.sleep(0.1)
            count, at = _row(connection.execute(ended).fetchone())
        time.sleep(seconds)
        later, then = _row(connection.execute(ended).fetchone())
    return (later - count) * NAP / (SLOTS * (then - at))


def _row(row: tuple[object, ...] | None) -> tuple[float, float]:
    assert row is not None
    return float(str(row[0])), float(str(row[1] or 0))


def _wait_full(worker: WorkerUnderTest) -> None:
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until and worker.metrics().value("headcount_slots_used") < SLOTS:
        time.sleep(0.05)
