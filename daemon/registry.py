"""Handlers: the `@job` decorator, and the discovery of every decorated function in the handler packages.

Used by job authors (through the door) and by the service at start. Discovery imports the user's modules and refuses
what could fail only later: two handlers of one name, a missing annotation, a type pydantic can't validate.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from daemon.cloud_run_job import CloudRunJob
from daemon.errors import DecodeError, HandlersInvalid
from daemon.handler_modules import NEW_REPOSITORY, modules, put_on_path
from daemon.lifespan import MARK, Lifespan, lifespan_of
from daemon.rules.lifecycle import RetryPolicy
from daemon.rules.limits import JobLimit, Limit, Rate, limits_of
from daemon.rules.messages import check_name
from daemon.rules.refused_params import names_in, why_refused
from daemon.rules.retry import Backoff
from daemon.signature import json_schema, signature_of

Executor = Literal["async", "thread", "process", "command", "cloud_run_job"]
EXECUTORS: tuple[Executor, ...] = typing.get_args(Executor)
StepsChangedPolicy = Literal["fail", "ignore", "restart"]
OPTIONS = "__headcount_job__"

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]
F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and how its jobs are run. `timeout` is seconds per attempt; `concurrency` is per worker.

    `memory_mib` is how much the process of a `process` handler may use. `result` is None where the annotation of the
    function says nothing about it. `resources` are the types of its further parameters, which lifespans provide.
    `cloud_run_job` is the one that it executes, where it says so.
    """

    name: str
    function: Callable[..., object]
    executor: Executor
    policy: RetryPolicy
    timeout: float | None
    concurrency: int | None
    params: TypeAdapter[object]
    wants_context: bool
    limits: tuple[JobLimit, ...] = ()
    memory_mib: int | None = None
    result: TypeAdapter[object] | None = None
    resources: tuple[object, ...] = ()
    steps_changed: StepsChangedPolicy = "fail"
    cloud_run_job: str | None = None

    @property
    def location(self) -> str:
        """Where it is defined: file:line."""
        return _location(self.function)

    def why(self, error: ValidationError, *, show_values: bool = False) -> str:
        """Why params were refused: fields and what is expected there, and no value unless `show_values`."""
        return why_refused(error, names_in(json_schema(self.params, "validation")), show_values=show_values)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The arguments of `@job`, kept on the function until discovery reads them."""

    name: str
    executor: Executor | None
    policy: RetryPolicy
    timeout: float | None
    concurrency: int | None
    limits: tuple[Limit | Rate, ...] = ()
    memory_mib: int | None = None
    steps_changed: StepsChangedPolicy = "fail"
    cloud_run_job: str | None = None


def job(
    name: str,
    *,
    max_attempts: int = 3,
    retry: Backoff | None = None,
    retry_on: ExceptionTypes | None = None,
    give_up_on: ExceptionTypes = (),
    timeout: timedelta | float | None = None,
    overall_timeout: timedelta | float | None = None,
    executor: Executor | None = None,
    concurrency: int | None = None,
    limits: Sequence[Limit | Rate] = (),
    memory_mib: int | None = None,
    steps_changed: StepsChangedPolicy = "fail",
    cloud_run_job: str | None = None,
) -> Callable[[F], F]:
    """Register the function below as the handler of jobs called `name`; the function itself stays as it is.

    It takes the params (any type that pydantic validates, named by its annotation) and, if it has a second parameter,
    the JobContext. `max_attempts` counts failures, not interruptions. An exception of `give_up_on`, or one that is not
    of `retry_on` where that is given, ends the job. `timeout` is per attempt, `overall_timeout` from the start of the
    first attempt over all of them and the pauses between them (seconds or timedelta). `executor` is `async` for
    `async def` and `thread` for plain `def`. One may ask for `process`, a child process that can be killed, with
    `memory_mib` as its limit; with `command` it returns a Command. `concurrency` bounds this name per worker, `limits`
    over the whole fleet. `steps_changed` says what becomes of a job whose recorded steps are not this handler's.
    `cloud_run_job` names the only Cloud Run Job that a `cloud_run_job` handler executes, for `headcount doctor`.
    """
    retried = None if retry_on is None else _types(retry_on)
    policy = RetryPolicy(max_attempts, retry or Backoff(), retried, _types(give_up_on), _seconds(overall_timeout))
    bounds = (_seconds(timeout), concurrency, tuple(limits), memory_mib)
    options = JobOptions(name, executor, policy, *bounds, steps_changed, cloud_run_job)

    def register(function: F) -> F:
        setattr(function, OPTIONS, options)
        return function

    return register


def _types(types: ExceptionTypes) -> tuple[type[BaseException], ...]:
    return types if isinstance(types, tuple) else (types,)


def _seconds(duration: timedelta | float | None) -> float | None:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


class Registry:
    """The handlers of one worker by name, and the lifespans by the type that they provide."""

    def __init__(self, handlers: Mapping[str, Handler], lifespans: Mapping[object, Lifespan] | None = None) -> None:
        self._handlers = dict(handlers)
        self.lifespans = dict(lifespans or {})
        self.names: tuple[str, ...] = tuple(sorted(self._handlers))

    def find(self, name: str) -> Handler | None:
        """The handler of this name; None when there is none."""
        return self._handlers.get(name)

    @property
    def limits(self) -> list[JobLimit]:
        """All limits of all handlers."""
        return [limit for handler in self for limit in handler.limits]

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers[name] for name in self.names)

    def __len__(self) -> int:
        return len(self._handlers)


def discover(packages: Sequence[str], folder: Path) -> Registry:
    """Import every module of `packages`, looked for in `folder` first. Raises HandlersInvalid with file and line."""
    put_on_path(folder)
    handlers: dict[str, Handler] = {}
    lifespans: dict[object, Lifespan] = {}
    for package in packages:
        for module in modules(package, folder):
            for function in _marked(module, MARK):
                _add_lifespan(lifespan_of(function, _location(function)), lifespans)
            for function in _marked(module, OPTIONS):
                handler = handler_of(function)
                known = handlers.get(handler.name)
                if known is not None and known.function is not function:
                    locations = f"{known.location} and {handler.location}"
                    raise HandlersInvalid(f"Two handlers are named {handler.name!r}: {locations}.")
                handlers[handler.name] = handler
    if not handlers:
        searched = f"{', '.join(packages) or 'HEADCOUNT_HANDLERS'} ({folder.resolve()})"
        raise HandlersInvalid(f"No function decorated with @job was found in {searched}.", NEW_REPOSITORY)
    for handler in handlers.values():
        for kind in handler.resources:
            if kind not in lifespans:
                raise HandlersInvalid(f"{handler.location}: no @lifespan yields {kind!r}, which it asks for.")
    return Registry(handlers, lifespans)


def _add_lifespan(found: Lifespan, lifespans: dict[object, Lifespan]) -> None:
    known = lifespans.setdefault(found.provides, found)
    if known.function is not found.function:
        raise HandlersInvalid(f"Two lifespans yield {found.provides!r}: {known.location} and {found.location}.")


def handler_of(function: Callable[..., object]) -> Handler:
    """The handler of a decorated function. Raises HandlersInvalid when it can't be used."""
    options = getattr(function, OPTIONS, None)
    if not isinstance(options, JobOptions):
        raise HandlersInvalid(f"{_location(function)} is not decorated with @job.")
    executor = _check_options(options, function)
    signature = signature_of(function, _location(function), has_result=executor not in ("command", "cloud_run_job"))
    try:
        limits = tuple(limits_of(options.name, options.limits))
    except ValueError as error:
        raise HandlersInvalid(f"{_location(function)}: {error}.") from None
    return Handler(
        options.name,
        function,
        executor,
        options.policy,
        options.timeout,
        options.concurrency,
        signature.params,
        signature.wants_context,
        limits,
        options.memory_mib,
        signature.result,
        signature.resources,
        options.steps_changed,
        options.cloud_run_job,
    )


def _check_options(options: JobOptions, function: Callable[..., object]) -> Executor:
    where = _location(function)
    is_async = inspect.iscoroutinefunction(function)
    executor = options.executor or ("async" if is_async else "thread")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise HandlersInvalid(f"{where}: a handler returns its result; this one yields.")
    try:
        check_name(options.name)
    except DecodeError as error:
        raise HandlersInvalid(f"{where}: {error}.") from None
    if executor not in EXECUTORS:
        raise HandlersInvalid(f"{where}: executor {executor!r} is unknown; known: {', '.join(EXECUTORS)}.")
    if is_async != (executor == "async"):
        wanted = "async def" if executor == "async" else "def"
        raise HandlersInvalid(f"{where}: the executor {executor!r} runs a function made by {wanted}.")
    policy = options.policy
    timeouts = (options.timeout, policy.overall_timeout)
    if policy.max_attempts < 1 or not all(seconds is None or seconds > 0 for seconds in timeouts):
        raise HandlersInvalid(f"{where}: max_attempts must be at least 1 and timeouts above 0.")
    for kind in (*(policy.retry_on or ()), *policy.give_up_on):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise HandlersInvalid(f"{where}: retry_on and give_up_on hold types of exceptions, not {kind!r}.")
    if options.concurrency is not None and options.concurrency < 1:
        raise HandlersInvalid(f"{where}: concurrency must be at least 1.")
    if options.steps_changed not in typing.get_args(StepsChangedPolicy):
        raise HandlersInvalid(f"{where}: steps_changed is fail, ignore or restart, not {options.steps_changed!r}.")
    if options.memory_mib is not None and (executor != "process" or options.memory_mib < 1):
        raise HandlersInvalid(f"{where}: memory_mib must be at least 1, and needs executor='process'.")
    if options.cloud_run_job is not None:
        if executor != "cloud_run_job":
            raise HandlersInvalid(f"{where}: cloud_run_job needs executor='cloud_run_job'.")
        try:
            CloudRunJob(options.cloud_run_job)
        except ValueError as error:
            raise HandlersInvalid(f"{where}: {error}.") from None
    return executor


def _marked(module: ModuleType, mark: str) -> list[Callable[..., object]]:
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return [value for value in own if callable(value) and isinstance(getattr(value, mark, None), JobOptions | bool)]


def _location(function: Callable[..., object]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)
