"""The bare database: a claim and a settlement of whole batches, with the worker's own statements and no broker.

Run by `measure`. One connection of the plain driver, one batch after the other, two commits a batch; rows are read and
not looked at. Prints jobs per second and CPU seconds per job of this process.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from uuid import UUID, uuid4

import psycopg
from psycopg.types.array import ListBinaryDumper
from psycopg.types.string import StrBinaryDumper
from psycopg.types.uuid import UUIDBinaryDumper
from sqlalchemy import Dialect, TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from daemon.job import Action, Settlement
from daemon.postgres import arrays
from daemon.postgres.settlements import parameters
from daemon.postgres.statements import claims, settlements, workers

TTL = 3600.0
OPTIONS = "-c enable_seqscan=off -c jit=off"


class Bare:
    """The statements of one worker, on one connection."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, options=OPTIONS)
        self._connection.adapters.register_dumper(UUID, UUIDBinaryDumper)
        self._connection.adapters.register_dumper(str, StrBinaryDumper)
        self._connection.adapters.register_dumper(list, ListBinaryDumper)
        arrays.register(self._connection.adapters)
        self.me = uuid4()
        self.run(workers.REGISTER, {"me": self.me, "host": "bench", "revision": "", "slots": 1, "pool": ""})
        self.commit()

    def claim(self, orchestration: UUID, total: int, first: int, size: int) -> list[UUID]:
        """One claim transaction; the ids of the jobs."""
        ids = sorted(uuid4() for _ in range(size))
        self.run(claims.REQUIRE_LIVE_WORKER, {"me": self.me, "ttl": TTL, "lock_timeout": "1s"})
        self.run(
            claims.REGISTER_ORCHESTRATIONS,
            {"ids": [orchestration], "names": ["noop"], "totals": [total], "tags": ["{}"], "traceparents": [None]},
        )
        self.run(
            claims.CLAIM_JOBS,
            {
                "me": self.me,
                "ids": ids,
                "tokens": [uuid4() for _ in ids],
                "orchestration_ids": [orchestration] * size,
                "indexes": list(range(first, first + size)),
                "counts": [total] * size,
                "names": ["noop"] * size,
                "params": ["{}"] * size,
                "message_ids": [str(1_000_000 + first + number) for number in range(size)],
                "limited": [],
            },
        )
        self.commit()
        return ids

    def settle(self, ids: list[UUID]) -> None:
        """One settlement transaction."""
        done = [Settlement(one, self.me, 1, Action.COMPLETE, result="null") for one in ids]
        self.run(settlements.SETTLE, parameters(done))
        self.commit()

    def commit(self) -> None:
        """End the transaction."""
        self._connection.commit()

    def run(self, statement: TextClause, values: dict[str, object]) -> None:
        """Run a statement and read its rows away."""
        cursor = self._connection.execute(_named(statement), values, prepare=True)
        if cursor.description is not None:
            cursor.fetchall()


@functools.cache
def _named(statement: TextClause) -> bytes:
    dialect: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # its __init__ is not annotated
    return str(statement.compile(dialect=dialect)).encode()


def main(url: str, jobs: int, per_orchestration: int, batch: int) -> dict[str, float]:
    """Claim and settle so many jobs."""
    bare = Bare(url)
    began, cpu = time.monotonic(), time.process_time()
    for start in range(0, jobs, per_orchestration):
        orchestration = uuid4()
        for first in range(0, per_orchestration, batch):
            bare.settle(bare.claim(orchestration, per_orchestration, first, min(batch, per_orchestration - first)))
        assert start < jobs
    seconds = time.monotonic() - began
    return {"per_second": jobs / seconds, "cpu": (time.process_time() - cpu) / jobs}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
