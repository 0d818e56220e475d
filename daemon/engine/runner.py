"""Running one attempt: validate the params, make the context, and call the handler by its executor.

Called by the pipeline. Total: whatever a handler or a validator does becomes a Result. It must not decide what the
result means for the job.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from daemon.context import JobContext
from daemon.engine.attempt import Attempt
from daemon.engine.executors import Executor
from daemon.job import Claim, Failed, JobError, Kind, Result
from daemon.recorder import Recorder, StepStore, StepTransactions
from daemon.registry import Handler
from daemon.rules.storable import safe_str
from daemon.steps import Steps, StepsRestarted


class HandlerRunner:
    """Runs handlers, each by the executor that it asks for. Made on the event loop."""

    def __init__(
        self,
        recorder: Recorder,
        executors: Mapping[str, Executor],
        *,
        steps: StepStore | None = None,
        transactions: StepTransactions | None = None,
        resources: Callable[[Handler], Sequence[object]] = lambda _handler: (),
        show_values: bool = False,
    ) -> None:
        self._recorder = recorder
        self._executors = executors
        self._steps, self._transactions = steps, transactions
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._show_values = show_values

    async def run(self, claim: Claim, handler: Handler, attempt: Attempt) -> Result:
        """What the handler did with this attempt."""
        try:
            params = handler.params.validate_json(claim.params)
        except ValidationError as error:
            return Failed(JobError(Kind.INVALID_PARAMS, handler.why(error, show_values=self._show_values)), final=True)
        except BaseException as error:  # a validator is the author's code: SystemExit must not end the worker
            words = f"{type(error).__name__}: {safe_str(error)}" if self._show_values else type(error).__name__
            return Failed(JobError(Kind.INVALID_PARAMS, f"validating the params raised {words}"), final=True)
        arguments: tuple[object, ...] = (params,)
        if handler.wants_context:
            steps = self._steps_of(claim, handler, attempt)
            context = JobContext(claim, self._recorder, attempt.signal, self._loop, self._loop_thread, steps)
            arguments = (params, context)
            if steps is not None and claim.attempt > 1:
                handler = replace(handler, function=_to_the_end(handler, steps))
        if handler.resources and handler.executor != "process":  # a child process has its own
            arguments += tuple(self._resources(handler))
        return await self._executors[handler.executor].call(_within_overall_timeout(handler, claim), arguments, attempt)

    def _steps_of(self, claim: Claim, handler: Handler, attempt: Attempt) -> Steps | None:
        if self._steps is None or handler.executor not in ("async", "thread"):
            return None
        return Steps(claim, self._steps, self._transactions, attempt.signal, self._loop, handler.steps_changed)


def _to_the_end(handler: Handler, steps: Steps) -> Callable[..., object]:
    """The function of a handler: called again when its steps begin anew, and checked for steps it did not come to."""
    function = handler.function

    async def call(*arguments: object) -> object:
        while True:
            try:
                called = function(*arguments)
                assert isinstance(called, Awaitable), "discovery lets only `async def` be run on the event loop"
                result: object = await called
                await steps.finish()
                return result
            except StepsRestarted:
                continue

    def call_in_thread(*arguments: object) -> object:
        while True:
            try:
                result = function(*arguments)
                steps.finish_in_thread()
                return result
            except StepsRestarted:
                continue

    return call if handler.executor == "async" else call_in_thread


def _within_overall_timeout(handler: Handler, claim: Claim) -> Handler:
    """The handler, with no more time for this attempt than its job has left."""
    overall = handler.policy.overall_timeout
    if overall is None:
        return handler
    left = max(overall - claim.since_first_start, 0.0)
    return replace(handler, timeout=left if handler.timeout is None else min(left, handler.timeout))
