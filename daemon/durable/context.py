"""The part of a handler's context that is about its durable steps and waits.

The base of JobContext: `step`, `steps`, `sleep` and `wait_for` are to be awaited in an `async def`, and give their
result themselves in a plain `def`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from daemon.durable.waits import WaitingSteps
from daemon.errors import InvalidStep
from daemon.rules.retry import Backoff


class DurableContext:
    """What is recorded and not done again."""

    def __init__(self, steps: WaitingSteps | None, loop_thread: int) -> None:
        self._steps = steps
        self._loop_thread = loop_thread

    def step(
        self,
        name: str,
        function: Callable[..., object],
        *arguments: object,
        retry: Backoff | None = None,
        max_attempts: int = 3,
        tx: bool = False,
    ) -> Any:
        """Call `function(*arguments)` once and record its result; a later attempt of the job gets that result instead.

        Recorded steps never run again; the one in flight at a crash may have run twice. It gives the result as JSON
        (1 MiB at most), also the first time: to be awaited in an `async def`, itself in a plain `def`. With `retry`
        it is tried `max_attempts` times in place, with pauses of up to 30 s. With `tx` the function gets a database
        connection as its first argument, and what it writes commits together with the record.

        Raises what the function raises; ClaimLost when another worker owns the job now; Stopped before a step that is
        not recorded, and after one that has just been; ResultNotStorable; StepsChanged when the recorded steps are not
        those of this handler; InvalidStep for a name used twice, a step within a step, or one beside another.
        """
        step = self._durable.begin(name, function, arguments, retry, max_attempts, tx)
        return self._durable.run(step) if self.on_event_loop else self._durable.run_in_thread(step)

    def steps(self, **functions: Callable[[], object]) -> Any:
        """Steps that run at the same time, each under the name of its argument: their results by name, as of `step`."""
        steps = [self._durable.begin(name, function, beside=list(functions)) for name, function in functions.items()]
        return self._durable.run_all(steps) if self.on_event_loop else self._durable.run_all_in_threads(steps)

    @property
    def step_key(self) -> str:
        """Within a step: a key that is the same whenever that step of this job runs."""
        return self._durable.key

    def sleep(self, duration: timedelta | float) -> Any:
        """Go on after `duration` (a timedelta or seconds), counted by the database's clock from the first call.

        Over 5 s the job is suspended: this attempt ends here, its slot, claim and memory are given back, and the job
        begins again when it is time, with its recorded steps. Only the handler's own task may do that: raises
        SuspendNotAllowed within a step or in another task.
        """
        steps, seconds = self._durable, _seconds(duration)
        step = steps.begin_wait(None)
        return steps.sleep(step, seconds) if self.on_event_loop else steps.sleep_in_thread(step, seconds)

    def wait_for(self, signal: str, timeout: timedelta | float | None = None, *, name: str | None = None) -> Any:
        """The payload of the signal of this name, as JSON; until it comes the job is suspended, as by `sleep`.

        Signals are kept, those sent before the job waits too, and each is taken once, the oldest first. `name` is the
        step's, where a handler waits for the same signal more than once. Raises WaitTimedOut after `timeout`, and
        again in every later attempt.
        """
        steps, seconds = self._durable, None if timeout is None else _seconds(timeout)
        step = steps.begin_wait(name or signal)
        if self.on_event_loop:
            return steps.wait_for(step, signal, seconds)
        return steps.wait_for_in_thread(step, signal, seconds)

    @property
    def _durable(self) -> WaitingSteps:
        if self._steps is not None:
            return self._steps
        raise InvalidStep("steps are for handlers with executor='async' or 'thread'")

    @property
    def on_event_loop(self) -> bool:
        """Whether the caller runs on the event loop, where it must await what takes time."""
        return threading.get_ident() == self._loop_thread


def _seconds(duration: timedelta | float) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
