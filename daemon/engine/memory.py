"""Memory-aware admission: takes no work that would not fit, and ends the largest process before the kernel ends any.

Asked before a job is claimed; the service has it look twice a second. What handlers grow by is known of those in child
processes, once one of a name has run. A job whose process was ended runs again with no other process beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.executors.process.child_process import ChildProcess
from daemon.engine.executors.process.pool import ProcessPool
from daemon.job import Cause, Claim, Evicted, Failed, JobError, Kind
from daemon.observe import Observer
from daemon.registry import Handler
from daemon.rules.memory import admits, learned, left_to_grow, to_evict

MIB = 1024 * 1024
READING_SHARE = 0.02  # of the time, at most: a machine with many other processes has much to read


@dataclass(slots=True)
class _Growth:
    """A job in a child process, or on its way to one: what its process took at first, now, and at most."""

    name: str
    expected: int
    start: int | None = None
    now: int = 0
    most: int = 0

    @property
    def left(self) -> int:
        return self.expected if self.start is None else left_to_grow(self.expected, self.start, self.now)


@dataclass(slots=True, eq=False)
class _Waiting:
    handler: Handler
    attempt: Attempt
    turn: asyncio.Future[None]


class MemoryAdmission:
    """Lets jobs in as long as there is memory. `read` gives the memory of each process of this worker, by its id.

    Without a `limit` (bytes) it lets everybody in. `stall` is told True when nothing more fits, and False after that.
    Where the worker itself fills its memory, jobs are let in one after the other: it may never take less.
    """

    def __init__(
        self,
        limit: int | None,
        read: Callable[[], Mapping[int, int]],
        pool: ProcessPool,
        in_flight: InFlight,
        observer: Observer,
        stall: Callable[[bool], None],
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._read = read
        self._pool = pool
        self._in_flight = in_flight
        self._observer = observer
        self._stall = stall
        self._patience = patience
        self._used = 0
        self._idle: dict[int, int] = {}  # what a child took when it had no job, by process id
        self._known: dict[str, int] = {}
        self._running: dict[Attempt, _Growth] = {}
        self._waiting: deque[_Waiting] = deque()
        self._to_run_alone: dict[Attempt, asyncio.Future[None]] = {}
        self._alone: Attempt | None = None
        self._stalls = False
        self._look_at = 0.0
        self.is_closed = False  # nothing more fits

    @property
    def expected(self) -> int:
        """How many bytes the running jobs are known to take beyond what they take now."""
        return sum(job.left for job in self._running.values())

    async def enter(self, handler: Handler, attempt: Attempt) -> None:
        """Wait until there is memory for a job of this handler.

        Raises TimeoutError after `patience` when there is none for any: another worker may have some.
        """
        if self._limit is None or self._fits(handler, self._limit):
            self._let_in(handler, attempt)
            return
        waiting = _Waiting(handler, attempt, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            while not waiting.turn.done():
                await asyncio.wait({waiting.turn}, timeout=self._patience)
                if self.is_closed and not waiting.turn.done():
                    self._observer.nacked(1, "memory")
                    raise TimeoutError
        finally:
            self._waiting.remove(waiting)

    async def until_alone(self, attempt: Attempt) -> None:
        """Wait until no other job runs in a child process, if this one was ended for its memory before."""
        if attempt.claim is None or attempt.claim.cause is not Cause.EVICTED or attempt not in self._running:
            return
        turn = self._to_run_alone[attempt] = asyncio.get_running_loop().create_future()
        try:
            self._next_alone()
            await turn
        finally:
            self._to_run_alone.pop(attempt, None)

    async def look(self) -> None:
        """Measure, end a process if need be, and let in what fits now."""
        began = self._clock()
        if self._limit is None or began < self._look_at:
            return
        taken = await asyncio.to_thread(self._read)
        self._look_at = self._clock() + (self._clock() - began) / READING_SHARE
        self._used = max(taken.values(), default=0)  # the whole tree's: that of its root
        children = [child for child in self._pool.children if child.pid in taken and not child.is_ending]
        for child in children:
            self._follow(child, taken[child.pid])
        self._observer.memory_measured(self._used, self.expected, self._limit)
        number = to_evict(self._limit, self._used, [taken[child.pid] for child in children])
        if number is not None and not any(child.is_ending for child in self._pool.children):  # that frees some soon
            self._evict(children[number], taken[children[number].pid], self._limit)
        self._open_or_close(self._limit)
        self._let_in_what_fits(self._limit)

    @property
    def _is_idle(self) -> bool:
        return not self._running and not self._in_flight.running

    def _follow(self, child: ChildProcess, now: int) -> None:
        job = self._job_of(child.claim)
        if job is None:
            self._idle[child.pid] = now
            return
        if job.start is None:
            job.start = self._idle.get(child.pid, now)
        job.now, job.most = now, max(job.most, now)

    def _job_of(self, claim: Claim | None) -> _Growth | None:
        return next(
            (job for attempt, job in self._running.items() if claim is not None and attempt.claim is claim), None
        )

    def _evict(self, child: ChildProcess, size: int, limit: int) -> None:
        claim = child.claim
        text = f"the worker took {self._used // MIB} of {limit // MIB} MiB, the process of this job {size // MIB}"
        if claim is None:  # it holds on to what its last job took
            child.kill()
            return
        if self._alone is not None and self._alone.claim is claim:
            child.evict(Failed(JobError(Kind.OUT_OF_MEMORY, f"ended, although it ran alone: {text}")))
        else:
            child.evict(Evicted(JobError(Kind.EVICTED, f"ended to free memory, to run again alone: {text}")))

    def _open_or_close(self, limit: int) -> None:
        closed = not admits(limit, self._used, self.expected)
        if closed is not self.is_closed:
            self.is_closed = closed
            self._observer.memory_short(closed, self._used, self.expected)
        stalls = closed and not self._is_idle
        if stalls is not self._stalls:
            self._stalls = stalls
            self._stall(stalls)

    def _let_in_what_fits(self, limit: int) -> None:
        waiting = [one for one in self._waiting if not one.turn.done()]
        if waiting and self._is_idle:
            self._let_in(waiting[0].handler, waiting[0].attempt)
            waiting[0].turn.set_result(None)
        for one in waiting:
            if not one.turn.done() and self._fits(one.handler, limit):
                self._let_in(one.handler, one.attempt)
                one.turn.set_result(None)

    def _let_in_soon(self, limit: int) -> None:
        asyncio.get_running_loop().call_soon(self._let_in_what_fits, limit)

    def _fits(self, handler: Handler, limit: int) -> bool:
        if handler.executor != "process":
            return admits(limit, self._used, self.expected)
        if self._alone is not None or self._to_run_alone:
            return False
        growth = self._known.get(handler.name, 0) if self._running else 0  # one that fits nowhere runs by itself
        return admits(limit, self._used, self.expected, growth)

    def _let_in(self, handler: Handler, attempt: Attempt) -> None:
        if self.is_closed and self._limit is not None:  # once this one's outcome is being stored, the next may run
            attempt.releases.append(partial(self._let_in_soon, self._limit))
        if handler.executor == "process" and self._limit is not None:
            self._running[attempt] = _Growth(handler.name, self._known.get(handler.name, 0))
            attempt.releases.append(partial(self._leave, attempt, self._limit))

    def _leave(self, attempt: Attempt, limit: int) -> None:
        job = self._running.pop(attempt)
        if job.start is not None:
            self._known[job.name] = learned(self._known.get(job.name, 0), max(0, job.most - job.start))
        if self._alone is attempt:
            self._alone = None
        self._next_alone()
        self._let_in_what_fits(limit)

    def _next_alone(self) -> None:
        if self._alone is None and self._to_run_alone and self._running.keys() <= self._to_run_alone.keys():
            attempt, turn = next(iter(self._to_run_alone.items()))
            self._alone = attempt
            if not turn.done():
                turn.set_result(None)
