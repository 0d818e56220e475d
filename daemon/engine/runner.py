"""Running one attempt: validate the params, make the context, and call the handler by its executor.

Called by the pipeline. Total: whatever a handler or a validator does becomes a Result. It must not decide what the
result means for the job.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from daemon.context import JobContext
from daemon.engine.attempt import Attempt
from daemon.engine.executors import Executor
from daemon.job import Claim, Failed, JobError, Kind, Result
from daemon.recorder import Recorder
from daemon.registry import Handler
from daemon.rules.storable import safe_str


class HandlerRunner:
    """Runs handlers, each by the executor that it asks for. Made on the event loop."""

    def __init__(
        self,
        recorder: Recorder,
        executors: Mapping[str, Executor],
        *,
        resources: Callable[[Handler], Sequence[object]] = lambda _handler: (),
        show_values: bool = False,
    ) -> None:
        self._recorder = recorder
        self._executors = executors
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
            arguments = (params, JobContext(claim, self._recorder, attempt.signal, self._loop, self._loop_thread))
        if handler.resources and handler.executor != "process":  # a child process has its own
            arguments += tuple(self._resources(handler))
        return await self._executors[handler.executor].call(_within_overall_timeout(handler, claim), arguments, attempt)


def _within_overall_timeout(handler: Handler, claim: Claim) -> Handler:
    """The handler, with no more time for this attempt than its job has left."""
    overall = handler.policy.overall_timeout
    if overall is None:
        return handler
    left = max(overall - claim.since_first_start, 0.0)
    return replace(handler, timeout=left if handler.timeout is None else min(left, handler.timeout))
