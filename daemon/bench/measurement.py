"""One measured: workers start, rest, get a backlog all at once, and are measured until the last outcome is stored.

Used by every scenario about rates. The backlog was published before and is released by a seek, so that neither a
producer nor the worker's own start is measured with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from daemon.bench.meter import Cost, Meter
from daemon.bench.stack import BenchStack, Environment
from daemon.bench.worker import BenchFailed, Metrics, WorkerUnderTest

REST_SECONDS = 1.5
TIMEOUT = 900.0
LOOK_SECONDS = 0.25
DONE = "SELECT coalesce(sum(completed + errored), 0) >= {jobs} FROM orchestration WHERE job_name = '{name}'"
SPAN = "SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM job WHERE job_name = '{name}'"


@dataclass(frozen=True)
class Bench:
    """What every scenario is given: the servers, and whether it has to be short."""

    stack: BenchStack
    quick: bool
    say: Callable[[str], None]

    def size(self, full: int, quick: int) -> int:
        """How many, depending on the time there is."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Measurement:
    """What a measured took. Per job unless it says otherwise; CPU in seconds."""

    jobs: int
    seconds: float
    cost: Cost
    metrics: Metrics

    @property
    def per_second(self) -> float:
        """Durable jobs a second, from the first start to the last stored outcome."""
        return self.jobs / self.seconds

    @property
    def statements_per_batch(self) -> float:
        """Statements of all kinds, BEGIN and COMMIT too, for each claim or settlement of a batch."""
        batches = sum(self.metrics.value("headcount_batch_items_count", operation=name) for name in ("claim", "settle"))
        return self.cost.statements / batches if batches else 0.0


def measure_backlog(
    bench: Bench, environment: Environment, jobs: int, *, name: str = "noop", processes: int = 1, **settings: object
) -> Measurement:
    """Work off what `environment` holds back. Raises BenchFailed when it takes too long."""
    stack = bench.stack
    with WorkerUnderTest(environment, stack.logs / "worker.log", processes=processes, **settings) as worker:
        time.sleep(REST_SECONDS)
        meter = Meter(stack, environment, [worker.process])
        environment.release(environment.subscription)
        if not meter.wait_for(DONE.format(jobs=jobs, name=name), TIMEOUT, LOOK_SECONDS):
            raise BenchFailed(f"{jobs} jobs were not done within {TIMEOUT:.0f} s")
        cost = meter.stop()
        metrics = worker.metrics()
    with environment.connect() as connection:
        row = connection.execute(SPAN.format(name=name).encode()).fetchone()
    assert row is not None
    return Measurement(jobs, float(str(row[0])), cost, metrics)
