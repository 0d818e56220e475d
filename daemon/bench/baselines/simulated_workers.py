"""Many simulated workers on one database: threads that claim and settle batches as fast as they are answered.

Run by the fleet scenario, in a few processes. Each has a connection, a worker row and a heartbeat of its own, and the
worker's own statements; there is no broker and no handler. `hot` lets all of them count in one orchestration.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from daemon.bench.baselines.settlement import Bare
from daemon.postgres.statements import workers as sql

BEAT_SECONDS = 5.0
TOTAL = 1_000_000


class SimulatedWorkers:
    """The threads of one process, and what they counted."""

    def __init__(self, url: str, batch: int, seconds: float, orchestration: Callable[[], UUID], first: int) -> None:
        self._url = url
        self._batch = batch
        self._until = time.monotonic() + seconds
        self._orchestration = orchestration
        self._lock = threading.Lock()
        self._next = first
        self.jobs = 0
        self.waits: list[tuple[float, float]] = []

    def work(self) -> None:
        """One worker."""
        bare, mine = Bare(self._url), self._orchestration()
        beat_due = time.monotonic() + BEAT_SECONDS
        while (now := time.monotonic()) < self._until:
            ids = bare.claim(mine, TOTAL, self._place(), self._batch)
            claimed = time.monotonic()
            bare.settle(ids)
            with self._lock:
                self.jobs += len(ids)
                self.waits.append((claimed - now, time.monotonic() - claimed))
            if now > beat_due:
                beat_due = now + BEAT_SECONDS
                bare.run(sql.HEARTBEAT, {"me": bare.me, "running": 0, "draining": False, "gap": 12.5})
                bare.commit()

    def _place(self) -> int:
        with self._lock:
            self._next += self._batch
            return self._next - self._batch


def main(url: str, workers: int, batch: int, seconds: float, hot: str | None, first: int) -> dict[str, float]:
    """So many workers for so long."""
    swarm = SimulatedWorkers(url, batch, seconds, (lambda: UUID(hot)) if hot else uuid4, first)
    threads = [threading.Thread(target=swarm.work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claims = sorted(claim for claim, _ in swarm.waits)
    settles = sorted(settle for _, settle in swarm.waits)
    return {
        "jobs": swarm.jobs,
        "per_second": swarm.jobs / seconds,
        "claim_p50": claims[len(claims) // 2],
        "settle_p50": settles[len(settles) // 2],
        "settle_p99": settles[int(len(settles) * 0.99)],
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
