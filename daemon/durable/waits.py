"""The waits among the steps of an attempt: a job that sleeps, or waits for a signal, is suspended meanwhile.

Made by the runner for each attempt, used through its context. A short rest is waited for in place; anything longer
ends the attempt by Suspended, and the next one goes on from the recorded steps.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from daemon.durable.step import Step, current_step
from daemon.durable.steps import Steps
from daemon.errors import Suspended, SuspendNotAllowed, WaitTimedOut
from daemon.recorder import RecordedStep, StepKind
from daemon.rules.storable import parsed

IN_PLACE_SECONDS = 5.0
LONGEST_PARK = 7 * 24 * 3600.0


class WaitingSteps(Steps):
    """The steps and waits of one attempt."""

    def begin_wait(self, name: str | None) -> Step:
        """Number a wait. Raises SuspendNotAllowed within a step; one without a name is called by its number."""
        outer = current_step()
        if outer is not None:
            raise SuspendNotAllowed(f"step {outer!r} can't suspend its job: wait in the handler itself")
        return self.begin(name or f"sleep-{len(self._begun) + 1}", _never_called)

    async def sleep(self, step: Step, seconds: float) -> None:
        """Go on in `seconds`."""
        self._check_task()
        await self._sleep(step, seconds)

    def sleep_in_thread(self, step: Step, seconds: float) -> None:
        """The same for a plain handler."""
        self._wait(self._sleep(step, seconds))

    async def wait_for(self, step: Step, signal: str, timeout: float | None) -> Any:
        """The payload of a signal."""
        self._check_task()
        return await self._wait_for(step, signal, timeout)

    def wait_for_in_thread(self, step: Step, signal: str, timeout: float | None) -> Any:
        """The same for a plain handler."""
        return self._wait(self._wait_for(step, signal, timeout))

    async def _sleep(self, step: Step, seconds: float) -> None:
        try:
            found = await self._find(step)
            if found is None:
                sleep = RecordedStep(step.name, step.number, "null", StepKind.SLEEP, seconds)
                if not await self._store.record(self._claim, sleep):
                    self._lose()
            left = seconds if found is None else self._left(found)
            if left > IN_PLACE_SECONDS:
                raise Suspended(left)
            await self._pause(left)
        finally:
            self._running.discard(step.name)

    async def _wait_for(self, step: Step, signal: str, timeout: float | None) -> Any:
        try:
            found = await self._find(step)
            seen = 0
            if found is None or found.kind is StepKind.WAIT:
                self._stop.raise_if_set()
                asked = RecordedStep(step.name, step.number, None, StepKind.WAIT, timeout)
                answer = await self._store.wait_for(self._claim, asked, signal)
                if answer is None:
                    self._lose()
                found, seen = answer.step, answer.signals
            if found.kind is StepKind.TIMEOUT:
                raise WaitTimedOut(f"no signal {signal!r} came in time")
            if found.result is not None:
                return parsed(found.result)
            left = LONGEST_PARK if found.due_in is None else min(max(found.due_in, 0.0), LONGEST_PARK)
            raise Suspended(left, signal, seen)
        finally:
            self._running.discard(step.name)

    def _left(self, found: RecordedStep) -> float:
        """How many seconds are left of a recorded sleep."""
        return max((found.due_in or 0.0) - (time.monotonic() - self._read_at), 0.0)

    def _check_task(self) -> None:
        if asyncio.current_task() is not self._task:
            raise SuspendNotAllowed("only the handler's own task can suspend its job, not one that it has started")


def _never_called() -> None:
    raise AssertionError("a wait calls nothing")
