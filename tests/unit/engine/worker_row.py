"""The worker's row without a database: what is called is written down, and fails when a test wants it to.

Used by the tests of the heartbeat and the reconciler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from daemon.job import Holdings

Pair = tuple[UUID, int]


class FakeRow:
    """`failures` are raised by the next calls of a method, in order; `while_reading` runs inside `claimed_jobs`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.claimed: frozenset[Pair] = frozenset()
        self.occupied: frozenset[UUID] = frozenset()
        self.failures: dict[str, list[BaseException]] = {}
        self.while_reading: Callable[[], None] = lambda: None

    def register(self, me: UUID) -> None:
        self._called("register", me)

    def heartbeat(self, me: UUID, running: int, draining: bool) -> None:
        self._called("heartbeat", me, running, draining)

    def deregister(self, me: UUID, delay: float = 0.0) -> int:
        self._called("deregister", me, delay)
        return 0

    def claimed_jobs(self, me: UUID) -> Holdings:
        self._called("claimed_jobs", me)
        holdings = Holdings(self.claimed, self.occupied)
        self.while_reading()
        return holdings

    def release(self, me: UUID, jobs: Sequence[Pair]) -> frozenset[UUID]:
        self._called("release", me, tuple(jobs))
        return frozenset(job_id for job_id, _ in jobs)

    def vacate(self, me: UUID, jobs: Sequence[UUID]) -> None:
        self._called("vacate", me, tuple(jobs))

    def all(self, name: str) -> list[tuple[object, ...]]:
        return [arguments for called, arguments in self.calls if called == name]

    def _called(self, name: str, *arguments: object) -> None:
        self.calls.append((name, arguments))
        if self.failures.get(name):
            raise self.failures[name].pop(0)


def at_once(function: Callable[[], None]) -> None:
    """An event loop that answers immediately."""
    function()
