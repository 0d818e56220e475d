"""Test a handler with no server: `await run_handler(thumbnail, {...})`.

For job authors' tests. The handler runs through the same runner as in a worker: its params are validated, its timeout
counts, its result must be storable. Progress, notes and checkpoints are kept in memory. A `process` handler runs in a
thread, where debuggers and coverage see it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from pydantic import JsonValue, TypeAdapter

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.executors import Executor
from daemon.engine.executors.command import CommandExecutor
from daemon.engine.executors.coroutine import CoroutineExecutor
from daemon.engine.executors.thread import ThreadExecutor
from daemon.engine.runner import HandlerRunner
from daemon.errors import HeadcountError
from daemon.job import Claim, Evicted, Failed, Interrupted, JobError, Progress, Returned, StopReason, Unknown
from daemon.observe import Observer
from daemon.recorder import RecordedStep
from daemon.registry import handler_of
from daemon.rules.storable import encode_json

LIMIT = 10 * 1024 * 1024

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


class HandlerFailed(HeadcountError):
    """The attempt failed as it would in a worker; `error` has its kind, message and traceback."""

    def __init__(self, error: JobError) -> None:
        super().__init__(f"{error.kind}: {error.message}\n{error.traceback or ''}".rstrip())
        self.error = error


class HandlerStopped(HeadcountError):
    """The handler stopped because it was asked to; in production its job would go on from its last checkpoint."""


@dataclass
class Recording:
    """What a handler reported while it ran. `checkpoint` is JSON text, given back to the next run."""

    progress: list[Progress] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checkpoint: str | None = None
    steps: dict[str, RecordedStep] = field(default_factory=dict)


async def run_handler(
    function: Callable[..., object],
    params: object = None,
    *,
    index: int = 0,
    count: int = 1,
    tags: Mapping[str, str] | None = None,
    job_id: UUID | None = None,
    attempt: int = 1,
    recording: Recording | None = None,
    stopping: bool = False,
    resources: Sequence[object] = (),
) -> JsonValue:
    """One attempt of a handler, and its result as JSON.

    Raises HandlerFailed for whatever would fail the attempt. `recording` collects what it reports, and carries its
    checkpoint and its recorded steps from one run to the next (with `attempt=2`); with `stopping` the handler is asked
    to stop at its first await, and HandlerStopped is raised at its next stop point. `resources` stand for what
    lifespans would yield, in the order of the handler's parameters. Raises ValueError for a `cloud_run_job` handler.
    """
    handler = handler_of(function)
    if handler.executor == "cloud_run_job":
        raise ValueError(f"Cloud Run executes {handler.name}: call the function and test the CloudRunJob it returns")
    said = recording or Recording()
    claim = Claim(
        job_id=job_id or uuid4(),
        orchestration_id=uuid4(),
        worker_id=uuid4(),
        index=index,
        count=count,
        job_name=handler.name,
        params=encode_json({} if params is None else params, LIMIT, reveals=True),
        attempt=attempt,
        failures=0,
        losses=0,
        tags=dict(tags or {}),
        checkpoint=said.checkpoint,
        age=0.0,
        deadline_in=None,
        cause=None,
        traceparent=None,
    )
    running, recorder = Attempt(claim.job_id, claim), _Recorder(said)
    if stopping:
        asyncio.get_running_loop().call_soon(running.signal.set, StopReason.DRAINING)
    handler = replace(handler, executor="thread" if handler.executor == "process" else handler.executor)
    executors = _executors(recorder)
    runner = HandlerRunner(recorder, executors, steps=recorder, resources=lambda _handler: resources, show_values=True)
    result = await runner.run(claim, handler, running)
    match result:
        case Returned():
            return _JSON.validate_json(result.result)
        case Failed():
            raise HandlerFailed(result.error)
        case Interrupted():
            raise HandlerStopped(f"the handler stopped: {result.reason}")
        case Unknown() | Evicted():
            raise AssertionError("a handler that was found is never unknown, and none has a process here")


def _executors(recorder: _Recorder) -> dict[str, Executor]:
    return {
        "async": CoroutineExecutor(LIMIT),
        "thread": ThreadExecutor(LIMIT, 1, InFlight(), Observer(), lambda: 0.0),
        "command": CommandExecutor(LIMIT, recorder, os.environ, 0.5),
    }


class _Recorder:
    def __init__(self, said: Recording) -> None:
        self._said = said

    def progress(self, claim: Claim, progress: Progress) -> None:
        self._said.progress.append(progress)

    def note(self, claim: Claim, text: str) -> None:
        self._said.notes.append(text)

    def has_room(self, claim: Claim) -> bool:
        return True

    async def save(self, claim: Claim, checkpoint: str) -> bool:
        self._said.checkpoint = checkpoint
        return True

    async def recorded(self, claim: Claim) -> list[RecordedStep]:
        return list(self._said.steps.values())

    async def record(self, claim: Claim, step: RecordedStep) -> bool:
        self._said.steps[step.name] = step
        return True

    async def forget(self, claim: Claim) -> bool:
        self._said.steps.clear()
        return True
