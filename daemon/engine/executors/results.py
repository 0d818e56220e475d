"""What a handler did, as a Result: what it returned, what it raised, or why it was stopped. Total.

Used by the executors. It must not decide what the result means for the job.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from types import TracebackType

from pydantic import TypeAdapter

from daemon.engine.attempt import Attempt
from daemon.engine.cancellation import TaskCancellation
from daemon.errors import ClaimLost, GiveUp, ResultNotStorable, RetryLater, StepsChanged, Stopped
from daemon.job import Failed, Interrupted, JobError, Kind, Result, Returned, StopReason
from daemon.registry import Handler
from daemon.rules.storable import encode_json, safe_str, storable_text


def returned(value: object, limit: int, kind: TypeAdapter[object] | None = None) -> Result:
    """The result of a handler that returned, dumped as its annotation (`kind`) says. It may have `limit` bytes."""
    try:
        if inspect.iscoroutine(value):
            value.close()
            raise ResultNotStorable("the handler returned a coroutine: an `await` is missing in it")
        if inspect.isgenerator(value):  # encoding it would run the author's code here, perhaps without an end
            raise ResultNotStorable("the handler returned a generator: return a list of what it yields")
        return Returned("null" if value is None else encode_json(value, limit, kind))
    except ResultNotStorable as error:
        return Failed(JobError(Kind.RESULT_NOT_STORABLE, str(error)), final=True)
    except BaseException as error:  # a serializer is the author's code too
        text = f"encoding the result raised {type(error).__name__}: {safe_str(error)}"
        return Failed(JobError(Kind.RESULT_NOT_STORABLE, text), final=True)


def stopped(handler: Handler, attempt: Attempt) -> Failed | Interrupted:
    """The result of a handler that was stopped: a timeout is a failure, everything else an interruption."""
    reason = attempt.signal.reason
    if reason is StopReason.TIMED_OUT:
        return Failed(JobError(Kind.TIMED_OUT, f"the attempt took longer than its timeout of {handler.timeout:g} s"))
    return Interrupted(reason or StopReason.DRAINING)


def interruption_of(error: BaseException, attempt: Attempt, cancellation: TaskCancellation) -> Result:
    """The result of a task that others cancelled. Raises the error again when its loop is being closed.

    Nobody cancels it without a reason to stop, not even a loop that is being closed: then the handler itself did.
    """
    if attempt.signal.reason is not None or not isinstance(error, asyncio.CancelledError):
        raise error
    cancellation.forget()
    return Failed(JobError(Kind.RAISED, "the handler cancelled its own task"))


def failure_of(error: BaseException, handler: Handler, attempt: Attempt) -> Result:
    """The result of a handler that raised."""
    error, reason = _unwrapped(error), attempt.signal.reason
    if isinstance(error, Stopped) and reason is not None:
        return stopped(handler, attempt)
    if isinstance(error, ClaimLost) and reason is StopReason.CLAIM_LOST:  # its own ClaimLost would cost it nothing
        return Interrupted(reason)
    if isinstance(error, GiveUp):
        return Failed(JobError(Kind.GAVE_UP, safe_str(error), _trace(error)), final=True)
    if isinstance(error, StepsChanged):
        return Failed(JobError(Kind.STEPS_CHANGED, safe_str(error), _trace(error)), final=True)
    if isinstance(error, RetryLater):
        return Failed(JobError(Kind.RETRY_LATER, safe_str(error), _trace(error)), retry_in=_seconds(error.after))
    why_final = handler.policy.why_final(error)
    text = f"{type(error).__name__}: {safe_str(error)}{f' (not retried: {why_final})' if why_final else ''}"
    return Failed(JobError(Kind.RAISED, text, _trace(error)), final=why_final is not None)


def _unwrapped(error: BaseException) -> BaseException:
    """The one error of an exception group; a group in which every member is Stopped is Stopped."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    if error.split(Stopped)[1] is None:
        return Stopped()
    return _unwrapped(error.exceptions[0]) if len(error.exceptions) == 1 else error


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
