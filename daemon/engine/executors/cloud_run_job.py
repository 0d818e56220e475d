"""Executions of Cloud Run Jobs: `executor="cloud_run_job"`.

The handler says what to execute, and is called on the event loop. The execution outlives its worker: whoever has the
job's next attempt goes on following it. docs/cloud_run_jobs.md describes it to authors.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from daemon.cloud_run_job import CloudRunJob, Execution
from daemon.engine.attempt import Attempt
from daemon.engine.executors.results import failure_of, returned, stopped
from daemon.errors import CloudRunRefused, CloudRunUnavailable
from daemon.job import Claim, Failed, JobError, Kind, Progress, Result, StopReason
from daemon.recorder import Recorder
from daemon.registry import Handler
from daemon.rules.storable import storable_text

FIRST_POLL, LONGEST_POLL = 1.0, 10.0
CANCEL_SECONDS = 30.0
VARIABLE_LIMIT = 32 * 1024
"""Bytes of a variable's value: EnvVar of the Cloud Run Admin API v2."""

RUNS_ON = (StopReason.DRAINING, StopReason.CLAIM_LOST)


class Executions(Protocol):
    """Cloud Run. Every method raises CloudRunUnavailable, or CloudRunRefused."""

    def start(self, job: CloudRunJob, env: Mapping[str, str], timeout: float | None) -> Awaitable[str]: ...
    def get(self, name: str) -> Awaitable[Execution | None]: ...
    def find(self, job: CloudRunJob, variable: str, value: str) -> Awaitable[Execution | None]: ...
    def cancel(self, name: str) -> Awaitable[None]: ...


class CloudRunJobExecutor:
    """Starts an execution, or finds the one that an earlier attempt started, and follows it to its end."""

    def __init__(
        self, result_limit: int, recorder: Recorder, executions: Executions, first_poll: float = FIRST_POLL
    ) -> None:
        self._result_limit = result_limit
        self._recorder = recorder
        self._executions = executions
        self._first_poll = first_poll
        self._loop = asyncio.get_running_loop()

    async def call(self, handler: Handler, arguments: Sequence[object], attempt: Attempt) -> Result:
        """See Executor."""
        claim = attempt.claim
        assert claim is not None, "only what is claimed is run"
        if attempt.signal.reason is not None:
            return stopped(handler, attempt)
        try:
            job = handler.function(*arguments)
            if not isinstance(job, CloudRunJob):
                raise TypeError(f"the handler returned {type(job).__name__}, not a CloudRunJob")
        except BaseException as error:  # nothing was awaited: whatever it is, the handler raised it
            return failure_of(error, handler, attempt)
        cancelled: asyncio.Future[StopReason] = self._loop.create_future()
        attempt.on_cancel(lambda reason: None if cancelled.done() else cancelled.set_result(reason))
        timeout = handler.timeout
        timer = None if timeout is None else self._loop.call_later(timeout, attempt.cancel, StopReason.TIMED_OUT)
        try:
            if handler.cloud_run_job not in (None, job.name):
                raise CloudRunRefused(f"the handler returned {job.name}, and declares {handler.cloud_run_job}")
            execution = await self._earlier(job, claim) or await self._start(job, handler, claim)
            return await self._follow(execution, cancelled, handler, attempt)
        except CloudRunRefused as error:
            return Failed(JobError(Kind.NOT_STARTED, storable_text(str(error))), final=True)
        except CloudRunUnavailable as error:
            return Failed(JobError(Kind.RAISED, storable_text(f"Cloud Run does not answer: {error}")))
        finally:
            attempt.on_cancel(None)
            if timer is not None:
                timer.cancel()

    async def _earlier(self, job: CloudRunJob, claim: Claim) -> Execution | None:
        """The execution of an earlier attempt, if it goes on or has succeeded; one that failed is not run on with.

        Its name is the job's checkpoint, unless the worker died between the start and the checkpoint.
        """
        name = _name_in(claim.checkpoint)
        known = None if name is None else await self._executions.get(name)
        if known is not None and (known.succeeded or not known.is_done):
            return known
        return None if claim.attempt == 1 else await self._executions.find(job, "JOB_ID", str(claim.job_id))

    async def _start(self, job: CloudRunJob, handler: Handler, claim: Claim) -> Execution:
        """A new execution. That the claim was lost meanwhile is heard in a second, and why, as at any other time."""
        size = len(claim.params.encode())
        if size > VARIABLE_LIMIT:
            raise CloudRunRefused(f"the params take {size} bytes; Cloud Run allows a variable {VARIABLE_LIMIT}")
        name = await self._executions.start(job, _variables(claim), handler.timeout)
        await self._recorder.save(claim, json.dumps({"execution": name}))
        return Execution(name, is_done=False)

    async def _follow(
        self, execution: Execution, cancelled: asyncio.Future[StopReason], handler: Handler, attempt: Attempt
    ) -> Result:
        pause = self._first_poll
        while not execution.is_done:
            await asyncio.wait({cancelled}, timeout=pause)
            if cancelled.done():
                if cancelled.result() not in RUNS_ON:
                    await self._cancel(execution.name)
                return stopped(handler, attempt)
            pause = min(pause * 1.5, LONGEST_POLL)
            with suppress(CloudRunUnavailable):  # the execution does not need us
                found = await self._executions.get(execution.name)
                if found is None:
                    return _failed(execution, "it was deleted")
                execution = found
                if execution.tasks > 1 and attempt.claim is not None:
                    progress = Progress(float(execution.tasks_succeeded), float(execution.tasks), None)
                    self._recorder.progress(attempt.claim, progress)
        if not execution.succeeded:
            return _failed(execution, execution.message or "it failed")
        return returned({"execution": execution.name, "log_uri": execution.log_uri}, self._result_limit)

    async def _cancel(self, name: str) -> None:
        """Cancel it and wait until it has ended, so that none runs beside the next attempt's."""
        with suppress(CloudRunUnavailable, CloudRunRefused, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._executions.cancel(name)
                found = await self._executions.get(name)
                while found is not None and not found.is_done:
                    await asyncio.sleep(self._first_poll)
                    found = await self._executions.get(name)


def _variables(claim: Claim) -> dict[str, str]:
    """Cloud Run reserves CLOUD_RUN_TASK_INDEX and its like, and sets them for the tasks of each execution itself."""
    return {
        "JOB_NAME": claim.job_name,
        "JOB_ID": str(claim.job_id),
        "ORCHESTRATION_ID": str(claim.orchestration_id),
        "JOB_INDEX": str(claim.index),
        "JOB_COUNT": str(claim.count),
        "JOB_FAILURES": str(claim.failures),
        "JOB_PARAMS": claim.params,
    }


def _name_in(checkpoint: str | None) -> str | None:
    saved = None if checkpoint is None else json.loads(checkpoint)
    name = saved.get("execution") if isinstance(saved, dict) else None
    return name if isinstance(name, str) else None


def _failed(execution: Execution, why: str) -> Failed:
    logs = f" (its log: {execution.log_uri})" if execution.log_uri else ""
    return Failed(JobError(Kind.EXITED, storable_text(f"execution {execution.name.rpartition('/')[2]}: {why}{logs}")))
