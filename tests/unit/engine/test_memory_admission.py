"""Jobs are let in as long as there is memory for them, and the largest process ends before the kernel ends any."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.executors.process.child_process import ChildProcess
from daemon.engine.executors.process.pool import ProcessPool
from daemon.engine.memory import MemoryAdmission
from daemon.engine.turns import Turns
from daemon.job import Cause, Evicted, Failed, Kind, StopReason
from daemon.registry import Handler
from tests.fakes.delivery import CLAIM, a_handler
from tests.fakes.observer import Listening
from tests.harness.waiting import until
from tests.unit.engine.attempts import Recorded
from tests.unit.engine.process_pools import processes

MIB = 1024 * 1024
LIMIT = 1000 * MIB


def plain(params: dict[str, object]) -> None:
    """A handler."""


COMPUTES = a_handler(plain, "computes", executor="process")
ANOTHER = a_handler(plain, "another", executor="process")
WAITS = a_handler(plain, "waits", executor="thread")


class Worker:
    """An admission that measures what a test says, in mebibytes: of the worker itself, and of its children."""

    def __init__(self, pool: ProcessPool, patience: float = 30) -> None:
        self.own = 100
        self.children: dict[int, int] = {}
        self.stalls: list[bool] = []
        self.in_flight, self.heard = InFlight(), Listening()
        self.admission = MemoryAdmission(
            LIMIT, self._read, pool, self.in_flight, self.heard, self.stalls.append, patience, lambda: 0.0
        )

    def _read(self) -> dict[int, int]:
        taken = {pid: size * MIB for pid, size in self.children.items()}
        return {os.getpid(): self.own * MIB + sum(taken.values()), **taken}

    async def look(self, own: int, *children: tuple[ChildProcess, int]) -> None:
        """Measure again."""
        self.own, self.children = own, {child.pid: size for child, size in children}
        await self.admission.look()

    async def enter(self, handler: Handler, **claim: object) -> Attempt:
        """A job is let in and claimed."""
        attempt = Attempt()
        self.in_flight.add(attempt)
        attempt.releases.append(lambda: self.in_flight.remove(attempt))
        await self.admission.enter(handler, attempt)
        attempt.claimed(replace(CLAIM, job_name="add", params='{"a": 1}', **claim))  # type: ignore[arg-type]
        return attempt


def run_in(child: ChildProcess, attempt: Attempt) -> None:
    assert attempt.claim is not None
    child.begin(attempt.claim, None, None, Recorded())


async def is_kept_waiting(task: asyncio.Task[Attempt]) -> bool:
    done, _ = await asyncio.wait({task}, timeout=0.02)
    return not done


async def test_nothing_is_let_in_beyond_its_share_of_the_limit_and_the_intake_is_told() -> None:
    async with processes(0) as made:
        worker = Worker(made.pool, patience=0.05)
        await worker.look(850)
        first = await worker.enter(WAITS)
        await worker.look(851)
        assert (worker.admission.is_closed, worker.stalls) == (True, [True])
        with pytest.raises(TimeoutError):
            await worker.enter(WAITS)
        assert worker.heard.all("nacked") == [(1, "memory")]
        later = asyncio.create_task(worker.enter(WAITS))
        assert await is_kept_waiting(later)
        await worker.look(700)
        await later
        assert (worker.admission.is_closed, worker.stalls) == (False, [True, False])
        assert [short for short, *_ in worker.heard.all("memory_short")] == [True, False]
        first.handler_done()


async def test_a_delivery_that_finds_no_memory_or_is_asked_to_stop_meanwhile_is_not_claimed() -> None:
    async with processes(0) as made:
        worker = Worker(made.pool, patience=0.05)
        turns = Turns({}, worker.admission)
        assert not turns.is_needed(WAITS)
        await worker.enter(WAITS)
        await worker.look(900)
        assert turns.is_needed(WAITS)
        assert not await turns.wait(WAITS, Attempt())
        stopped = Attempt()
        waiting = asyncio.create_task(turns.wait(WAITS, stopped))
        await until(lambda: stopped.waiting)
        stopped.stop(StopReason.DRAINING)
        assert not await waiting
        await worker.look(100)
        assert not turns.is_needed(WAITS)
        assert await turns.wait(WAITS, Attempt())


async def test_a_worker_with_too_little_memory_runs_one_job_at_a_time_rather_than_none() -> None:
    async with processes(0) as made:
        worker = Worker(made.pool)
        await worker.look(900)
        assert worker.stalls == [], "what runs nothing must go on pulling"
        first, second = (asyncio.create_task(worker.enter(WAITS)) for _ in range(2))
        assert await is_kept_waiting(first)
        await worker.look(900)
        attempt = await first
        await worker.look(900)
        assert (await is_kept_waiting(second), worker.stalls) == (True, [True])
        attempt.settling = True
        attempt.handler_done()
        await second


async def test_what_a_handler_grew_to_is_kept_free_for_the_next_job_of_its_name() -> None:
    async with processes(2) as made:
        await until(lambda: sum(child.ready.is_set() for child in made.started) == 2)
        one, two = made.started
        worker = Worker(made.pool)
        await worker.look(100, (one, 50), (two, 50))
        attempt = await worker.enter(COMPUTES)
        run_in(one, attempt)
        for size in (250, 450, 300):
            await worker.look(100, (one, size), (two, 50))
        attempt.handler_done()
        one.finish()
        await worker.look(100, (one, 50), (two, 50))

        attempt = await worker.enter(COMPUTES)
        run_in(one, attempt)
        await worker.look(100, (one, 150), (two, 50))
        assert worker.admission.expected == 300 * MIB
        another = await worker.enter(ANOTHER)
        second = asyncio.create_task(worker.enter(COMPUTES))
        assert await is_kept_waiting(second), "100 + 200 + 300 + 400 do not fit"
        another.handler_done()
        attempt.handler_done()
        await second


async def test_the_largest_process_is_ended_and_its_job_runs_again_when_no_other_does() -> None:
    async with processes(2) as made:
        await until(lambda: sum(child.ready.is_set() for child in made.started) == 2)
        one, two = made.started
        worker = Worker(made.pool)
        small, large = await worker.enter(ANOTHER), await worker.enter(COMPUTES)
        run_in(one, small)
        run_in(two, large)
        await worker.look(100, (one, 350), (two, 450))
        assert two.eviction is None
        await worker.look(100, (one, 350), (two, 501))
        assert isinstance(two.eviction, Evicted)
        assert two.eviction.error.kind is Kind.EVICTED
        assert "the worker took 951 of 1000 MiB, the process of this job 501" in two.eviction.error.message
        await two.exited.wait()
        large.handler_done()
        await worker.look(100, (one, 350))
        assert one.eviction is None

        again = await worker.enter(COMPUTES, cause=Cause.EVICTED, attempt=2)
        turn = asyncio.create_task(worker.admission.until_alone(again))
        beside = asyncio.create_task(worker.enter(ANOTHER))
        assert await is_kept_waiting(beside)
        assert not turn.done()
        small.handler_done()
        one.finish()
        await turn
        assert await is_kept_waiting(beside), "it runs alone"
        run_in(one, again)
        await worker.look(100, (one, 900))
        assert isinstance(one.eviction, Failed), "then the memory is its own doing"
        assert one.eviction.error.kind is Kind.OUT_OF_MEMORY
        await one.exited.wait()
        again.handler_done()
        await worker.look(100)
        await beside


async def test_jobs_that_wait_to_run_alone_run_one_after_the_other() -> None:
    async with processes(0) as made:
        worker = Worker(made.pool)
        attempts = [await worker.enter(COMPUTES, cause=Cause.EVICTED) for _ in range(3)]
        turns = [asyncio.create_task(worker.admission.until_alone(attempt)) for attempt in attempts]
        for number, attempt in enumerate(attempts):
            await turns[number]
            assert [turn.done() for turn in turns[number + 1 :]] == [False] * (2 - number)
            attempt.handler_done()


async def test_a_job_that_stops_waiting_to_run_alone_holds_up_nobody() -> None:
    async with processes(0) as made:
        worker = Worker(made.pool)
        first, second = [await worker.enter(COMPUTES, cause=Cause.EVICTED) for _ in range(2)]
        alone, waiting = [asyncio.create_task(worker.admission.until_alone(attempt)) for attempt in (first, second)]
        await alone
        waiting.cancel()
        await asyncio.wait({waiting})
        second.handler_done()
        first.handler_done()
        await worker.enter(COMPUTES)


async def test_an_idle_process_that_keeps_the_memory_of_its_last_job_is_ended_without_harm() -> None:
    async with processes(1) as made:
        await until(lambda: made.started and made.started[0].ready.is_set())
        worker = Worker(made.pool)
        await worker.look(400, (made.started[0], 580))
        await made.started[0].exited.wait()
        await until(lambda: len(made.started) == 2)
