"""What a measurement cost: CPU of each process tree, commits, WAL, statements, HOT updates, memory.

Used by the scenarios around the part that counts. CPU is read from the kernel, everything else from Postgres's own
counters; the bench's own looks at the database are counted and taken off.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import psycopg

from daemon.bench.stack import BenchStack, Environment

STATISTICS_SECONDS = 2.5  # backends report their counters at most once a second, idle ones a little later
SAMPLE_SECONDS = 0.25


@dataclass(frozen=True)
class Counters:
    """Totals at one moment."""

    worker_cpu: float
    postgres_cpu: float
    broker_cpu: float
    commits: int
    wal: int
    statements: int
    updates: int
    hot: int


@dataclass(frozen=True)
class Cost:
    """What was spent between two moments; `memory` is the worker's largest resident size (bytes)."""

    worker_cpu: float
    postgres_cpu: float
    broker_cpu: float
    commits: int
    wal: int
    statements: int
    hot: float
    memory: int


class Meter:
    """Measures one environment while its workers (any number, started before) do something."""

    def __init__(self, stack: BenchStack, environment: Environment, workers: Sequence[psutil.Process]) -> None:
        self._stack = stack
        self._workers = workers
        self._connection = environment.connect()
        self._looks = 0
        self._memory = 0
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._began = self._counters()
        self._sampler.start()

    def look(self, statement: str) -> tuple[object, ...]:
        """One row of the environment's database; not counted as the worker's."""
        self._looks += 1
        row = self._connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row

    def wait_for(self, statement: str, seconds: float, pause: float = 0.1) -> bool:
        """Wait until a statement gives true; False when it took too long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.look(statement)[0]:
                return True
            time.sleep(pause)
        return False

    def stop(self) -> Cost:
        """Everything spent since the meter was made."""
        cpu = self._cpu()
        self._over.set()
        self._sampler.join()
        looks = self._looks
        time.sleep(STATISTICS_SECONDS)
        end, began = self._counters(), self._began
        self._connection.close()
        updates = end.updates - began.updates
        return Cost(
            worker_cpu=cpu[0] - began.worker_cpu,
            postgres_cpu=cpu[1] - began.postgres_cpu,
            broker_cpu=cpu[2] - began.broker_cpu,
            commits=end.commits - began.commits - looks,
            wal=end.wal - began.wal,
            statements=end.statements - began.statements - looks,
            hot=(end.hot - began.hot) / updates if updates else 0.0,
            memory=self._memory,
        )

    def _cpu(self) -> tuple[float, float, float]:
        postgres, broker = self._stack.postgres.pid, self._stack.pubsub.pid
        assert postgres is not None
        assert broker is not None
        return (
            sum(cpu_of(worker) for worker in self._workers),
            cpu_of(psutil.Process(postgres)),
            cpu_of(psutil.Process(broker)),
        )

    def _counters(self) -> Counters:
        worker, postgres, broker = self._cpu()
        numbers = [int(str(one)) for one in _totals(self._connection)]
        return Counters(worker, postgres, broker, *numbers)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._memory = max(self._memory, sum(memory_of(worker) for worker in self._workers))


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process, of its children, and of the children it has already buried."""
    seconds = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def memory_of(process: psutil.Process) -> int:
    """Resident bytes of a process and its children."""
    size = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            size += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return size


def _totals(connection: psycopg.Connection[tuple[object, ...]]) -> tuple[object, ...]:
    row = connection.execute(
        "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),"
        " (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint,"
        " (SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
        "  WHERE d.datname = current_database()),"
        " (SELECT coalesce(sum(n_tup_upd), 0)::bigint FROM pg_stat_user_tables),"
        " (SELECT coalesce(sum(n_tup_hot_upd), 0)::bigint FROM pg_stat_user_tables)"
    ).fetchone()
    assert row is not None
    return row
