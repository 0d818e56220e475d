"""Durable steps of one attempt: each is called once and recorded; what an earlier attempt recorded is replayed.

Made by the runner for each attempt, used through its context. Steps are told apart by name and by their number in the
run. Whatever is stored goes through a StepStore, under the attempt's fence.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar
from uuid import uuid5

from daemon.errors import ClaimLost, HeadcountError, InvalidStep, StepsChanged
from daemon.job import Claim, StopReason
from daemon.recorder import RecordedStep, StepStore, StepTransactions
from daemon.rules.retry import Backoff, retry_delay
from daemon.rules.storable import encode_json, parsed
from daemon.stop_signal import StopSignal

T = TypeVar("T")
RESULT_LIMIT = 1024 * 1024
NAME_LIMIT = 200
LONGEST_PAUSE = 30.0
STOP_CHECK_SECONDS = 0.5
MAX_THREADS = 32

_current: ContextVar[str | None] = ContextVar("current_step", default=None)


class StepsRestarted(BaseException):
    """The recorded steps are deleted, and the handler begins anew: caught by whoever calls it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of `ctx.step`: the `number`th of this run."""

    name: str
    number: int
    function: Callable[..., object]
    arguments: Sequence[object] = ()
    retry: Backoff | None = None
    max_attempts: int = 1
    in_transaction: bool = False

    def pause_after(self, error: Exception, failures: int) -> float:
        """Seconds until it is tried again; raises the error when it is not."""
        if self.retry is None or failures >= self.max_attempts or isinstance(error, HeadcountError):
            raise error
        return min(retry_delay(self.retry, failures, random.random), LONGEST_PAUSE)


class Steps:
    """The steps of one attempt. `when_changed` is fail, ignore or restart: see `@job`."""

    def __init__(
        self,
        claim: Claim,
        store: StepStore,
        transactions: StepTransactions | None,
        stop: StopSignal,
        loop: asyncio.AbstractEventLoop,
        when_changed: str,
    ) -> None:
        self._claim = claim
        self._store = store
        self._transactions = transactions
        self._stop = stop
        self._loop = loop
        self._when_changed = when_changed
        self._recorded: dict[str, RecordedStep] | None = {} if claim.attempt == 1 else None
        self._begun: list[str] = []
        self._running: set[str] = set()

    def begin(
        self,
        name: str,
        function: Callable[..., object],
        arguments: Sequence[object] = (),
        retry: Backoff | None = None,
        max_attempts: int = 1,
        in_transaction: bool = False,
        beside: Sequence[str] = (),
    ) -> Step:
        """Number a step. Raises InvalidStep for one that would not get the same number in another run."""
        outer = _current.get()
        if not 0 < len(name) <= NAME_LIMIT or not name.isprintable():
            raise InvalidStep(f"the name of a step has 1 to {NAME_LIMIT} printable characters")
        if outer is not None:
            raise InvalidStep(f"step {name!r} is called within step {outer!r}: call it from the handler itself")
        if name in self._begun:
            raise InvalidStep(f"two steps of a run are named {name!r}: the name of each tells it from the others")
        if others := self._running - set(beside):
            raise InvalidStep(
                f"step {name!r} begins while {sorted(others)[0]!r} runs, or was not awaited:"
                " steps that run at the same time are started by ctx.steps(...)"
            )
        self._begun.append(name)
        self._running.add(name)
        return Step(name, len(self._begun), function, arguments, retry, max_attempts, in_transaction)

    @property
    def key(self) -> str:
        """The idempotency key of the step that calls it."""
        name = _current.get()
        if name is None:
            raise InvalidStep("ctx.step_key belongs to a step: read it in the function that the step calls")
        return str(uuid5(self._claim.job_id, name))

    async def run(self, step: Step) -> Any:
        """The result of a step, recorded or now."""
        try:
            found = await self._find(step)
            return parsed(found) if found is not None else await self._execute(step)
        finally:
            self._running.discard(step.name)

    async def run_all(self, steps: Sequence[Step]) -> dict[str, Any]:
        """The results of steps that run at the same time."""
        try:
            found = {step.name: await self._find(step) for step in steps}
            async with asyncio.TaskGroup() as group:
                tasks = {step.name: group.create_task(self._execute(step)) for step in steps if not found[step.name]}
        finally:
            self._running.difference_update(step.name for step in steps)
        return {name: tasks[name].result() if text is None else parsed(text) for name, text in found.items()}

    def run_in_thread(self, step: Step) -> Any:
        """The same as `run`, for a thread that is not the event loop's."""
        try:
            found = self._wait(self._find(step))
            return parsed(found) if found is not None else self._execute_in_thread(step)
        finally:
            self._running.discard(step.name)

    def run_all_in_threads(self, steps: Sequence[Step]) -> dict[str, Any]:
        """The same as `run_all`; each step has a thread of its own, 32 at a time."""
        try:
            found = {step.name: self._wait(self._find(step)) for step in steps}
            with ThreadPoolExecutor(MAX_THREADS) as pool:
                futures = {
                    step.name: pool.submit(copy_context().run, self._execute_in_thread, step)
                    for step in steps
                    if not found[step.name]
                }
        finally:
            self._running.difference_update(step.name for step in steps)
        return {name: futures[name].result() if text is None else parsed(text) for name, text in found.items()}

    async def finish(self) -> None:
        """The handler has returned: raises StepsChanged for a recorded step that it has not come to."""
        if self._when_changed == "ignore":
            return
        for name in (await self._load()).keys() - set(self._begun):
            await self._changed(f"the handler ended without step {name!r}, which is recorded")

    def finish_in_thread(self) -> None:
        """The same as `finish`, for a thread that is not the event loop's."""
        self._wait(self.finish())

    async def _find(self, step: Step) -> str | None:
        """The recorded result of a step; None when it is to run now."""
        recorded = await self._load()
        found = recorded.get(step.name)
        if recorded and self._when_changed != "ignore":
            there = next((one.name for one in recorded.values() if one.number == step.number), None)
            if found is not None and found.number != step.number:
                await self._changed(f"step {step.name!r} is number {step.number}, and was recorded as {found.number}")
            if found is None and there is not None:
                await self._changed(f"step {step.name!r} is number {step.number}, where {there!r} is recorded")
        return None if found is None else found.result

    async def _load(self) -> dict[str, RecordedStep]:
        if self._recorded is None:
            self._recorded = {step.name: step for step in await self._store.recorded(self._claim)}
        return self._recorded

    async def _changed(self, what: str) -> None:
        if self._when_changed != "restart":
            raise StepsChanged(f"{what}: the steps of this handler have changed since")
        committed = [step.name for step in (self._recorded or {}).values() if step.in_transaction]
        if committed:
            raise StepsChanged(f"{what}; it can't begin anew, since the effects of step {committed[0]!r} are committed")
        if not await self._store.forget(self._claim):
            self._lose()
        self._recorded = {}
        self._begun.clear()
        self._running.clear()
        raise StepsRestarted

    async def _execute(self, step: Step) -> Any:
        for failures in count(1):
            self._stop.raise_if_set()
            try:
                text = await self._attempt(step)
                break
            except Exception as error:
                await self._pause(step.pause_after(error, failures))
        self._stop.raise_if_set()
        return parsed(text)

    async def _attempt(self, step: Step) -> str:
        if step.in_transaction:
            text = await self._database.run(self._claim, step.name, step.number, partial(self._call, step))
        else:
            text = await self._call(step)
            if not await _finished(self._store.record(self._claim, RecordedStep(step.name, step.number, text))):
                text = None
        return self._lose() if text is None else text

    async def _call(self, step: Step, *first: object) -> str:
        with _naming(step):
            value = step.function(*first, *step.arguments)
            if inspect.isawaitable(value):
                value = await value
            return encode_json(value, RESULT_LIMIT)

    async def _pause(self, seconds: float) -> None:
        while seconds > 0:
            self._stop.raise_if_set()
            await asyncio.sleep(min(seconds, STOP_CHECK_SECONDS))
            seconds -= STOP_CHECK_SECONDS

    def _execute_in_thread(self, step: Step) -> Any:
        for failures in count(1):
            self._stop.raise_if_set()
            try:
                text = self._attempt_in_thread(step)
                break
            except Exception as error:
                self._stop.wait(step.pause_after(error, failures))
        self._stop.raise_if_set()
        return parsed(text)

    def _attempt_in_thread(self, step: Step) -> str:
        body = partial(self._call_in_thread, step)
        if step.in_transaction:
            text = self._database.run_in_thread(self._claim, step.name, step.number, body)
            return self._lose() if text is None else text
        recorded = RecordedStep(step.name, step.number, body())
        return recorded.result if self._wait(self._store.record(self._claim, recorded)) else self._lose()

    def _call_in_thread(self, step: Step, *first: object) -> str:
        with _naming(step):
            value = step.function(*first, *step.arguments)
        if inspect.iscoroutine(value):
            value.close()
            raise InvalidStep(
                f"step {step.name!r} calls an `async def`: the steps of a plain handler are plain functions"
            )
        return encode_json(value, RESULT_LIMIT)

    @property
    def _database(self) -> StepTransactions:
        if self._transactions is None:
            raise InvalidStep("a step with tx=True needs the database of a worker")
        return self._transactions

    def _wait(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _lose(self) -> str:
        self._stop.set(StopReason.CLAIM_LOST)
        raise ClaimLost(f"attempt {self._claim.attempt} of job {self._claim.job_id} lost its claim")


@contextmanager
def _naming(step: Step) -> Iterator[None]:
    token = _current.set(step.name)
    try:
        yield
    finally:
        _current.reset(token)


async def _finished(record: Coroutine[None, None, bool]) -> bool:
    """What recording a step that has run gives; a first cancellation waits for it, so that it need not run again."""
    writing = asyncio.ensure_future(record)
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        with suppress(Exception):
            await writing
        raise
