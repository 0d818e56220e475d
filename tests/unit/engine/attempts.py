"""Running one handler as the worker does, and the recorder that its context speaks to.

Used by the tests of the runner and of the context. `run_attempt` asserts that the task stays healthy,
whatever the handler does to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.lowlevel

from daemon.engine.attempt import Attempt, InFlight
from daemon.engine.executors.coroutine import CoroutineExecutor
from daemon.engine.executors.thread import GRACE_SECONDS, ThreadExecutor
from daemon.engine.runner import HandlerRunner
from daemon.job import Claim, Failed, JobError, Kind, Progress, Result
from daemon.recorder import RecordedStep
from daemon.registry import Handler
from tests.fakes.delivery import CLAIM, a_handler
from tests.fakes.observer import Listening


class Recorded:
    """A recorder that keeps everything; `saves` says what a checkpoint is answered."""

    def __init__(self, *, saves: bool = True) -> None:
        self.progressed: list[Progress] = []
        self.notes: list[str] = []
        self.saved: list[str] = []
        self._saves = saves

    def progress(self, claim: Claim, progress: Progress) -> None:
        self.progressed.append(progress)

    def note(self, claim: Claim, text: str) -> None:
        self.notes.append(text)

    async def save(self, claim: Claim, checkpoint: str) -> bool:
        await asyncio.sleep(0)
        if self._saves:
            self.saved.append(checkpoint)
        return self._saves


class Steps:
    """A store of durable steps, all of one job; `holds` says whether its claim does."""

    def __init__(self, *recorded: RecordedStep) -> None:
        self.kept = {step.name: step for step in recorded}
        self.holds = True
        self.reads = 0

    async def recorded(self, claim: Claim) -> list[RecordedStep]:
        self.reads += 1
        return list(self.kept.values())

    async def record(self, claim: Claim, step: RecordedStep) -> bool:
        await asyncio.sleep(0)
        if self.holds:
            self.kept[step.name] = step
        return self.holds

    async def forget(self, claim: Claim) -> bool:
        self.kept.clear()
        return self.holds


HANG = 60.0  # a handler that computes for a second takes many where everybody computes


def a_runner(
    recorder: Recorded | None = None,
    *,
    steps: Steps | None = None,
    result_limit: int = 100_000,
    threads: int = 4,
    observer: Listening | None = None,
    in_flight: InFlight | None = None,
    grace: float = GRACE_SECONDS,
    exit_in: Callable[[], float] = lambda: 0.0,
    show_values: bool = False,
) -> HandlerRunner:
    """A runner on the running loop."""
    threaded = ThreadExecutor(result_limit, threads, in_flight or InFlight(), observer or Listening(), exit_in, grace)
    executors = {"async": CoroutineExecutor(result_limit), "thread": threaded}
    return HandlerRunner(recorder or Recorded(), executors, steps=steps or Steps(), show_values=show_values)


async def run_attempt(
    function: Callable[..., object],
    *,
    claim: Claim = CLAIM,
    attempt: Attempt | None = None,
    recorder: Recorded | None = None,
    runner: HandlerRunner | None = None,
    **terms: object,
) -> Result:
    """What one attempt of a function gives; `terms` are those of `@job`."""
    handler: Handler = a_handler(function, **terms)
    attempt = attempt or Attempt(claim.job_id)
    attempt.claimed(claim)
    running = runner or a_runner(recorder)

    async def deliver() -> Result:
        result = await running.run(claim, handler, attempt)
        async with asyncio.timeout(5):  # the settlement that follows must be able to wait
            await asyncio.sleep(0)
            await anyio.lowlevel.checkpoint()
            settled = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.001, settled.set_result, None)
            await settled
        return result

    task = asyncio.create_task(deliver())
    done, _ = await asyncio.wait({task}, timeout=HANG)
    assert done, "the attempt did not end"
    return task.result()


@asynccontextmanager
async def attempting(
    function: Callable[..., object], attempt: Attempt, **terms: object
) -> AsyncIterator[asyncio.Task[Result]]:
    """An attempt under way; it must have ended when the body has."""
    task = asyncio.create_task(run_attempt(function, attempt=attempt, **terms))  # type: ignore[arg-type]
    yield task
    await asyncio.wait_for(task, HANG)


def failure(result: Result, kind: Kind) -> JobError:
    """The error of a result that must be a failure of this kind."""
    assert isinstance(result, Failed), result
    assert result.error.kind is kind, result.error
    return result.error
