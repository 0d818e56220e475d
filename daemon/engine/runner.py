"""Running one attempt: validate the params, call the handler under its timeout, and say what it did.

Called by the pipeline. Total: whatever a handler does (raise SystemExit, swallow its cancellation, return a coroutine)
becomes a Result. It must not decide what the result means for the job.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from types import TracebackType

import anyio
import anyio.to_thread
from pydantic import ValidationError

from daemon.context import JobContext
from daemon.engine.running import Place, Running
from daemon.errors import ClaimLost, GiveUp, ResultNotStorable, RetryLater, Stopped
from daemon.job import Claim, Failed, Interrupted, JobError, Kind, Result, Returned, StopReason
from daemon.observe import Observer
from daemon.recorder import Recorder
from daemon.registry import Handler
from daemon.rules.refused_params import names_in, why_refused
from daemon.rules.storable import encode_json, safe_str, storable_text

THREAD_GRACE = 5.0


class HandlerRunner:
    """Runs handlers on this event loop, or in threads of its own for plain functions."""

    def __init__(
        self,
        recorder: Recorder,
        observer: Observer,
        result_limit: int,
        threads: int,
        running: Running,
        exit_in: Callable[[], float] = lambda: 0.0,
        *,
        show_values: bool = False,
    ) -> None:
        self._recorder = recorder
        self._observer = observer
        self._result_limit = result_limit
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._threads = anyio.CapacityLimiter(threads)  # an attempt keeps its slot for as long as its thread runs
        self._running = running
        self._exit_in = exit_in
        self._limits: dict[str, anyio.Semaphore] = {}
        self._show_values = show_values

    async def run(self, claim: Claim, handler: Handler, place: Place) -> Result:
        """What the handler did with this attempt."""
        try:
            params = handler.params.validate_json(claim.params)
        except ValidationError as error:
            return Failed(JobError(Kind.INVALID_PARAMS, self._why(error, handler)), final=True)
        except BaseException as error:  # a validator is the author's code: SystemExit must not end the worker
            words = f"{type(error).__name__}: {safe_str(error)}" if self._show_values else type(error).__name__
            return Failed(JobError(Kind.INVALID_PARAMS, f"validating the params raised {words}"), final=True)
        arguments: tuple[object, ...] = (params,)
        if handler.wants_context:
            arguments = (params, JobContext(claim, self._recorder, place.signal, self._loop, self._loop_thread))
        if handler.concurrency is None:
            return await self._within_time(handler, arguments, place)
        limit = self._limits.setdefault(handler.name, anyio.Semaphore(handler.concurrency))
        if not await self._its_turn(limit, place):
            return Interrupted(place.signal.reason or StopReason.DRAINING)
        try:
            return await self._within_time(handler, arguments, place)
        finally:
            limit.release()

    def _why(self, error: ValidationError, handler: Handler) -> str:
        try:
            schema: object = handler.params.json_schema()
        except Exception:  # a type that JSON schema can't tell has no names to show
            schema = {}
        return why_refused(error, names_in(schema), show_values=self._show_values)

    async def _its_turn(self, limit: anyio.Semaphore, place: Place) -> bool:
        place.waiting = True
        place.open(self._task())
        try:
            await limit.acquire()
        except asyncio.CancelledError:
            if not place.cancels:
                raise
            return False
        finally:
            place.waiting = False
            place.close()
        return True

    async def _within_time(self, handler: Handler, arguments: tuple[object, ...], place: Place) -> Result:
        if place.signal.reason is not None:
            return _stopped(handler, place)
        task = self._task()
        place.in_thread = handler.executor == "thread"
        place.open(task)
        if handler.timeout is not None:
            place.call_later(handler.timeout, partial(_time_is_up, handler, place))
        try:
            result = await self._call(handler, arguments, task, place)
            return _stopped(handler, place) if _has_overrun(place) else result
        except asyncio.CancelledError:
            if task.cancelling() > place.cancels:  # somebody else's: the loop is being closed
                raise
            return self._leave_thread(handler, place) if place.in_thread else _stopped(handler, place)
        finally:
            place.close()

    def _leave_thread(self, handler: Handler, place: Place) -> Result:
        """The process ends with this thread still running, so its job begins elsewhere only after that."""
        self._running.left_threads = True
        if place.claim is not None:
            self._observer.stuck(place.claim, 0.0)  # nobody watches its thread from here on
        return replace(_stopped(handler, place), still_runs_for=self._exit_in() + 1.0)

    def _task(self) -> asyncio.Task[object]:
        task = asyncio.current_task(self._loop)  # named: asking for the running loop is a system call each time
        assert task is not None, "the pipeline runs in a task"
        return task

    async def _call(
        self, handler: Handler, arguments: tuple[object, ...], task: asyncio.Task[object], place: Place
    ) -> Result:
        try:
            if handler.executor == "async":
                value = await _awaitable(handler.function, arguments)
            else:
                value = await anyio.to_thread.run_sync(
                    _plain, handler.function, arguments, abandon_on_cancel=True, limiter=self._threads
                )
        except BaseException as error:
            if _is_ours(error, task):
                raise
            return _failure(_meant(error), handler, place)
        return self._returned(value)

    def _returned(self, value: object) -> Result:
        try:
            if inspect.iscoroutine(value):
                value.close()
                raise ResultNotStorable("the handler returned a coroutine: an `await` is missing in it")
            if inspect.isgenerator(value):  # encoding it would run the author's code here, perhaps for ever
                raise ResultNotStorable("the handler returned a generator: return a list of what it yields")
            return Returned("null" if value is None else encode_json(value, self._result_limit))
        except ResultNotStorable as error:
            return Failed(JobError(Kind.RESULT_NOT_STORABLE, str(error)), final=True)
        except BaseException as error:  # a serializer is the author's code too
            text = f"encoding the result raised {type(error).__name__}: {safe_str(error)}"
            return Failed(JobError(Kind.RESULT_NOT_STORABLE, text), final=True)


def _awaitable(function: Callable[..., object], arguments: tuple[object, ...]) -> Awaitable[object]:
    called = function(*arguments)
    assert isinstance(called, Awaitable), "discovery lets only `async def` be run on the event loop"
    return called


def _plain(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    try:
        return function(*arguments)
    except GeneratorExit as error:  # on its way out of a thread it would close the coroutines that wait for it
        raise RuntimeError("the handler raised GeneratorExit") from error


def _time_is_up(handler: Handler, place: Place) -> None:
    place.signal.set(StopReason.TIMED_OUT)
    if handler.executor == "thread":
        place.call_later(THREAD_GRACE, partial(place.cancel, StopReason.TIMED_OUT))
    else:
        place.cancel(StopReason.TIMED_OUT)


def _has_overrun(place: Place) -> bool:
    """Whether a thread has ended after its timeout and the grace that it had to notice it."""
    return place.in_thread and place.cancelled_at is not None and place.signal.reason is StopReason.TIMED_OUT


def _is_ours(error: BaseException, task: asyncio.Task[object]) -> bool:
    """Whether a cancellation was asked for from outside: that one goes through, a handler's own is a failure."""
    if isinstance(error, GeneratorExit):
        return _is_closed_by_another(task)
    return isinstance(error, asyncio.CancelledError) and task.cancelling() > 0


def _is_closed_by_another(task: asyncio.Task[object]) -> bool:
    """Whether this coroutine is being closed (with its loop) instead of being run by its task."""
    try:
        return asyncio.current_task() is not task
    except RuntimeError:
        return True


def _meant(error: BaseException) -> BaseException:
    """What a task group's exceptions say, where they all say one thing: stopped in many tasks is stopped."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    if error.split(Stopped)[1] is None:
        return Stopped()
    return _meant(error.exceptions[0]) if len(error.exceptions) == 1 else error


def _stopped(handler: Handler, place: Place) -> Failed | Interrupted:
    reason = place.signal.reason
    if reason is StopReason.TIMED_OUT:
        return Failed(JobError(Kind.TIMED_OUT, f"the attempt took longer than its timeout of {handler.timeout:g} s"))
    return Interrupted(reason or StopReason.DRAINING)


def _failure(error: BaseException, handler: Handler, place: Place) -> Result:
    reason = place.signal.reason
    if isinstance(error, Stopped) and reason is not None:
        return _stopped(handler, place)
    if isinstance(error, ClaimLost) and reason is StopReason.CLAIM_LOST:  # its own ClaimLost would cost it nothing
        return Interrupted(reason)
    if isinstance(error, GiveUp):
        return Failed(JobError(Kind.GAVE_UP, safe_str(error), _trace(error)), final=True)
    if isinstance(error, RetryLater):
        return Failed(JobError(Kind.RETRY_LATER, safe_str(error), _trace(error)), retry_in=_seconds(error.after))
    return Failed(JobError(Kind.RAISED, f"{type(error).__name__}: {safe_str(error)}", _trace(error)))


def _seconds(after: float | None) -> float | None:
    try:
        return None if after is None else float(after)
    except (TypeError, ValueError, OverflowError):
        return None


def _trace(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _without_ours(error.__traceback__))
        return storable_text("".join(lines))
    except BaseException as second:
        return f"(the traceback cannot be read: {type(second).__name__})"


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the handler's own first frame on."""
    own = trace
    while own is not None and own.tb_frame.f_globals.get("__name__", "").startswith(("daemon.engine", "anyio")):
        own = own.tb_next
    return own or trace
