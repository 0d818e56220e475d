"""Workers that are started again whenever they end, as a platform does, and a record of what was done to them.

Used by every scenario with more than one worker. It never looks into the database: it sees processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.waiting import until
from tests.harness.worker import WorkerProcess

POLL_SECONDS = 0.05
RESTART_DELAY_SECONDS = 0.5
DECLARED_DEAD = "this worker was declared dead"


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something done to a process, at a time of the monotonic clock."""

    kind: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Exit:
    """A process that ended; `ready` says whether it had ever been."""

    pid: int
    code: int
    at: float
    ready: bool
    log: str


@dataclass(slots=True)
class Member:
    """One place of the pool and the process that fills it now."""

    worker: WorkerProcess
    ready: bool = False
    stopped: bool = False
    leaving: bool = False

    @property
    def free(self) -> bool:
        """Whether a intervention may fall on it: up, and nothing done to it yet."""
        return self.ready and not self.stopped and not self.leaving and self.worker.exit_code is None


class WorkerPool:
    """`size` workers. Between `async with` and its end each that ends is replaced by a new one."""

    def __init__(self, environment: Mapping[str, str], folder: Path, size: int) -> None:
        self._environment = environment
        self._folder = folder
        self.members = [Member(WorkerProcess(environment, folder)) for _ in range(size)]
        self.interventions: list[Intervention] = []
        self.exits: list[Exit] = []
        self.replaces = True
        self._ended: dict[int, float] = {}
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for member in self.members:
            self._start(member)
        self._watch = asyncio.create_task(self._replace_ended())
        try:
            await self.until_ready()
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for member in self.members:
            if member.worker.exit_code is None:
                member.worker.resume()
                member.worker.kill()

    async def until_ready(self, within: float = 60.0) -> None:
        """Wait until every place is filled by a worker that is ready."""
        await until(lambda: all(one.ready for one in self.members), within=within, what="all workers are ready")

    @property
    def free(self) -> list[Member]:
        """Those on whom a intervention may fall."""
        return [one for one in self.members if one.free]

    def kill(self, member: Member) -> None:
        """SIGKILL; a new process takes the place."""
        pid = member.worker.pid
        member.worker.kill()
        self.interventions.append(Intervention("kill", pid, time.monotonic()))

    def stop(self, member: Member) -> None:
        """SIGSTOP until `resume`."""
        member.stopped = True
        member.worker.pause()
        self.interventions.append(Intervention("stop", member.worker.pid, time.monotonic()))

    def resume(self, member: Member) -> None:
        """SIGCONT."""
        member.worker.resume()
        member.stopped = False

    def terminate(self, member: Member) -> float:
        """SIGTERM, as a rollout does. When that was."""
        at = time.monotonic()
        member.leaving = True
        member.worker.terminate()
        self.interventions.append(Intervention("term", member.worker.pid, at))
        return at

    async def terminate_all(self, within: float = 15.0) -> list[tuple[int, float]]:
        """SIGTERM for all once they are ready, and nobody is replaced any more: (exit code, seconds) of each."""
        await self.until_ready()
        self.replaces = False
        began = time.monotonic()
        left = {member.worker.pid for member in self.members if member.worker.exit_code is None}
        for member in self.members:
            if member.worker.pid in left:
                self.terminate(member)
        await until(lambda: len(self._exits_of(left)) == len(left), within=within, what="all workers have ended")
        return [(one.code, one.at - began) for one in self._exits_of(left)]

    def exit_of(self, pid: int) -> Exit | None:
        """How a process ended; None while it runs."""
        return next((one for one in self.exits if one.pid == pid), None)

    def unexpected_exits(self) -> list[Exit]:
        """Processes that had been ready and ended with neither a kill nor an orderly exit."""
        return [one for one in self._not_killed() if one.ready and one.code != 0]

    def unasked_exits(self) -> list[str]:
        """Processes that ended although nobody had asked them to: how, and their last words."""
        asked = {intervention.pid for intervention in self.interventions if intervention.kind == "term"}
        return [
            f"{one.pid} at {one.at:.3f}: {one.code} {one.log[-2000:]}"
            for one in self._not_killed()
            if one.pid not in asked
        ]

    def _not_killed(self) -> list[Exit]:
        killed = {intervention.pid for intervention in self.interventions if intervention.kind == "kill"}
        return [one for one in self.exits if one.pid not in killed]

    def declared_dead(self) -> list[Intervention]:
        """Workers that lived and were thought dead, each when it noticed."""
        found = []
        logs = {one.pid: one.log for one in self.exits} | {one.worker.pid: one.worker.log for one in self.members}
        now, wall = time.monotonic(), time.time()
        for pid, log in logs.items():
            for line in log.splitlines():
                if DECLARED_DEAD in line:
                    noticed = datetime.fromisoformat(json.loads(line)["time"]).timestamp()
                    found.append(Intervention("declared dead", pid, now - (wall - noticed)))
        return found

    def logs(self) -> Iterator[str]:
        """What every process has written, the dead ones first."""
        yield from (one.log for one in self.exits)
        yield from (member.worker.log for member in self.members)

    def _exits_of(self, pids: set[int]) -> list[Exit]:
        return [one for one in self.exits if one.pid in pids]

    async def _replace_ended(self) -> None:
        waits: dict[int, float] = {}
        while True:
            for member in self.members:
                pid = member.worker.pid
                if member.worker.exit_code is not None:
                    if self.exit_of(pid) is None:
                        self._record_exit(member)
                        pause = 0.0 if member.ready else RESTART_DELAY_SECONDS
                        waits[pid] = time.monotonic() + pause
                    if self.replaces and time.monotonic() >= waits[pid]:
                        self._replace(member)
                elif not member.ready and not member.stopped:
                    status = await asyncio.to_thread(member.worker.status_of, "/readyz")
                    member.ready = status == 200
            await asyncio.sleep(POLL_SECONDS)

    def _record_exit(self, member: Member) -> None:
        code = member.worker.exit_code
        assert code is not None
        at = self._ended.get(member.worker.pid, time.monotonic())
        gone = Exit(member.worker.pid, code, at, member.ready, member.worker.log)
        self.exits.append(gone)

    def _replace(self, member: Member) -> None:
        member.worker = WorkerProcess(self._environment, self._folder)
        member.ready = member.stopped = member.leaving = False
        self._start(member)

    def _start(self, member: Member) -> None:
        member.worker.start()
        threading.Thread(target=self._await_end, args=[member.worker.pid], daemon=True).start()

    def _await_end(self, pid: int) -> None:
        """Note when a process ended: whoever polls sees it later, on a busy machine by seconds."""
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [])
            self._ended[pid] = time.monotonic()
        finally:
            os.close(descriptor)
