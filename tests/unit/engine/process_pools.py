"""A pool of real child processes with the handlers of `process_jobs`, and attempts that run in it.

Used by the tests of the process executor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from daemon.engine.attempt import Attempt
from daemon.engine.executors.process.child_process import ChildProcess
from daemon.engine.executors.process.executor import ProcessExecutor
from daemon.engine.executors.process.group_killer import GroupKiller
from daemon.engine.executors.process.pool import ProcessPool, Recycling
from daemon.engine.runner import HandlerRunner
from daemon.job import Result
from daemon.observe import LogLine
from daemon.recorder import Recorder
from daemon.registry import discover
from daemon.rules.storable import encode_json
from daemon.service.process_child import child_command, start_message
from tests.fakes.delivery import CLAIM
from tests.fakes.observer import Listening
from tests.unit.engine.attempts import Recorded

REPOSITORY = Path(__file__).resolve().parents[3]
JOBS = "tests.unit.engine.process_jobs"
RESULT_LIMIT = 10 * 1024 * 1024


class Processes:
    """The parts, for a test to look at; `run` is one attempt of a handler of `process_jobs`."""

    def __init__(self, pool: ProcessPool, started: list[ChildProcess], heard: Listening) -> None:
        self.pool = pool
        self.started = started
        self.heard = heard
        self._registry = discover([JOBS], REPOSITORY)

    async def run(
        self,
        name: str,
        params: object = None,
        *,
        recorder: Recorder | None = None,
        running: Attempt | None = None,
        grace: float = 0.3,
        **claim: object,
    ) -> Result:
        attempt = running or Attempt(CLAIM.job_id)
        attempt.claimed(replace(CLAIM, job_name=name, params=encode_json(params or {}, 1_000_000), **claim))  # type: ignore[arg-type]
        recorder = recorder or Recorded()
        handler = self._registry.find(name)
        assert handler is not None
        assert attempt.claim is not None
        runner = HandlerRunner(recorder, {"process": ProcessExecutor(self.pool, recorder, grace)})
        return await asyncio.wait_for(runner.run(attempt.claim, handler, attempt), 30)

    def logged(self) -> list[tuple[str, str, dict[str, str], bool]]:
        """What was logged and printed: logger, text, values, and whether a job was named."""
        heard = [(claim, line) for claim, line in self.heard.all("handler_logged") if isinstance(line, LogLine)]
        return [(line.logger, line.text, dict(line.values), claim is not None) for claim, line in heard]


@asynccontextmanager
async def processes(slots: int = 1, *, jobs: int | None = None, memory: int | None = None) -> AsyncIterator[Processes]:
    """A pool that runs; it leaves no process."""
    heard, started = Listening(), []
    start = partial(ChildProcess, child_command(), start_message([JOBS], REPOSITORY, "info", RESULT_LIMIT), heard)

    def remembered(groups: GroupKiller) -> ChildProcess:
        started.append(start(groups))
        return started[-1]

    pool = ProcessPool(slots, remembered, Recycling(jobs, memory), heard)
    running = asyncio.create_task(pool.run())
    try:
        yield Processes(pool, started, heard)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert all(child.exited.is_set() for child in started)
