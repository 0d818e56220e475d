"""The child processes of a worker: as many as jobs may run in them at once, each started before it is needed.

Run by the service, asked by the executor. A child is replaced when it has died, was spoiled, or has had its share of
jobs or memory; the old one goes on until its successor is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from daemon.engine.executors.process.child_process import ChildProcess
from daemon.engine.executors.process.group_killer import GroupKiller
from daemon.observe import Observer
from daemon.rules.retry import Backoff, retry_delay

BACKOFF = Backoff(initial=1, factor=2, maximum=30, jitter=False)
START_SECONDS = 120.0
CLOSE_SECONDS = 0.7


class ChildNotStarted(Exception):
    """A child did not come to life."""


@dataclass(frozen=True, slots=True)
class Recycling:
    """After how many jobs, and from how many bytes of memory on, a child is replaced; None is never."""

    jobs: int | None
    memory: int | None

    def is_due(self, child: ChildProcess) -> bool:
        return (self.jobs is not None and child.jobs >= self.jobs) or (
            self.memory is not None and child.memory > self.memory
        )


class ProcessPool:
    """`slots` children; `acquire` one for each job."""

    def __init__(
        self, slots: int, start: Callable[[GroupKiller], ChildProcess], recycling: Recycling, observer: Observer
    ) -> None:
        self.slots = slots
        self._start = start
        self._groups = GroupKiller()
        self._closing = False
        self._recycling = recycling
        self._observer = observer
        self._ready: asyncio.Queue[ChildProcess] = asyncio.Queue()
        self._children: set[ChildProcess] = set()

    async def run(self) -> None:
        """Keep the children alive until cancelled; then they are killed."""
        try:
            async with asyncio.TaskGroup() as slots:
                for _ in range(self.slots):
                    slots.create_task(self._keep_slot())
        finally:
            for child in self._children:
                child.kill_and_wait()
            self._groups.close()

    async def close(self) -> None:
        """Let the children end by themselves, which closes what their lifespans yielded; no others are started."""
        self._closing = True
        for child in self._children:
            child.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for child in self._children:
                    await child.exited.wait()

    @property
    def children(self) -> list[ChildProcess]:
        """Those that have not ended, ready or not."""
        return [child for child in self._children if not child.exited.is_set()]

    async def acquire(self) -> ChildProcess:
        """A child that waits for a job, for the caller alone until `release`."""
        while True:
            child = await self._ready.get()
            if not child.is_ending:
                return child

    def release(self, child: ChildProcess) -> None:
        """The job has ended."""
        child.finish()
        if child.is_ending or child.is_retired:
            child.close()
        else:
            if self._recycling.is_due(child):
                child.over.set()
            self._ready.put_nowait(child)

    async def _keep_slot(self) -> None:
        old: ChildProcess | None = None
        while not self._closing:
            child = await self._started()
            self._ready.put_nowait(child)
            if old is not None:
                self._retire(old)
            await child.over.wait()
            old = child
        if old is not None:
            await old.exited.wait()

    def _retire(self, child: ChildProcess) -> None:
        child.is_retired = True
        if not (child.is_busy or child.is_ending):
            child.close()

    async def _started(self) -> ChildProcess:
        failures = 0
        while True:
            try:
                return await self._start_one()
            except (OSError, ChildNotStarted) as error:
                failures += 1
                pause = retry_delay(BACKOFF, failures, lambda: 1.0)
                self._observer.background_loop_failed("process", error, pause)
                await asyncio.sleep(pause)

    async def _start_one(self) -> ChildProcess:
        child = self._start(self._groups)
        self._children.add(child)
        try:
            async with asyncio.timeout(START_SECONDS):
                await child.ready.wait()
        except TimeoutError:
            child.kill()
            raise ChildNotStarted(f"a process for handlers was not ready within {START_SECONDS:g} s") from None
        finally:
            self._children = {child for child in self._children if not child.exited.is_set()}
        if child.is_ending:
            raise ChildNotStarted(f"a process for handlers ended before it was ready, with code {child.code}")
        return child
