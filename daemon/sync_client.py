"""The client for code without an event loop: web frameworks, scripts, notebooks.

Used by producers (`from daemon import SyncClient`). Every call runs on the asynchronous client, in an event loop
that has a thread of its own, so that both do the same by construction; calls from several threads run side by side.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, Unpack, overload
from uuid import UUID

from anyio.from_thread import start_blocking_portal
from pydantic import JsonValue

from daemon.client import AsyncFunction, Client, KickOffOptions, Orchestration, P, PlainFunction
from daemon.errors import RequestRefused
from daemon.job import Status
from daemon.orchestration import InstanceResult, R
from daemon.settings import Settings

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Asynchronous = Callable[Concatenate[Client, Arguments], Awaitable[Answer]]
OfOrchestration = Callable[Concatenate[Orchestration[Any], Arguments], Awaitable[Answer]]


def _of_client(method: Asynchronous[Arguments, Answer]) -> Callable[Concatenate[SyncClient, Arguments], Answer]:
    @wraps(method)
    def call(self: SyncClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return self._run(partial(method, self._client, *args, **kwargs))

    return call


def _of_orchestration(
    method: OfOrchestration[Arguments, Answer],
) -> Callable[Concatenate[SyncOrchestration[Any], Arguments], Answer]:
    @wraps(method)
    def call(self: SyncOrchestration[Any], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return self._client._run(partial(method, self._orchestration, *args, **kwargs))

    return call


class SyncClient:
    """Kicks off and follows orchestrations. `with SyncClient() as client:` reads HEADCOUNT_* from the environment.

    One for each process, made after it was forked; threads share it. Raises what the asynchronous client raises, and
    RequestRefused once it is closed or in a process that was forked from its own.
    """

    def __init__(self, settings: Settings | None = None, *, connections: int = 2) -> None:
        self._process = os.getpid()
        self._closed = False
        with ExitStack() as opened:
            self._portal = opened.enter_context(start_blocking_portal(name="headcount-client"))
            self._client = self._portal.call(partial(Client, settings, connections=connections))
            opened.callback(self._portal.call, self._client.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread. More than once is allowed."""
        if not self._closed and os.getpid() == self._process:
            self._closed = True
            self._opened.close()

    @overload
    def kick_off(
        self, job: str, params: Iterable[object], **options: Unpack[KickOffOptions]
    ) -> SyncOrchestration[JsonValue]: ...

    @overload
    def kick_off(
        self, job: AsyncFunction[P, R], params: Iterable[P], **options: Unpack[KickOffOptions]
    ) -> SyncOrchestration[R]: ...

    @overload
    def kick_off(
        self, job: PlainFunction[P, R], params: Iterable[P], **options: Unpack[KickOffOptions]
    ) -> SyncOrchestration[R]: ...

    def kick_off(self, job: Any, params: Iterable[object], **options: Unpack[KickOffOptions]) -> SyncOrchestration[Any]:
        """Start one instance of a job per element of `params`, as `Client.kick_off` does with the same options.

        A `connection` belongs to one event loop, so it is refused here: RequestRefused.
        """
        if options.get("connection") is not None:
            raise RequestRefused("SyncClient.kick_off takes no connection: join transactions with the asynchronous one")
        made: Orchestration[Any] = self._run(partial(self._client.kick_off, job, params, **options))
        return SyncOrchestration(self, made)

    def orchestration(self, orchestration_id: UUID) -> SyncOrchestration[JsonValue]:
        """A handle on an orchestration by its id; nothing is read yet."""
        return SyncOrchestration(self, self._client.orchestration(orchestration_id))

    state = _of_client(Client.state)
    outcomes = _of_client(Client.outcomes)
    secrets_in_params = _of_client(Client.secrets_in_params)
    running = _of_client(Client.running)
    cancel = _of_client(Client.cancel)
    retry_failed = _of_client(Client.retry_failed)
    pause = _of_client(Client.pause)
    resume = _of_client(Client.resume)
    paused = _of_client(Client.paused)

    def _run(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        if os.getpid() != self._process:
            raise RequestRefused("this SyncClient was made before the process was forked: make one in each process")
        if self._closed:
            raise RequestRefused("this SyncClient is closed")
        future = self._portal.start_task_soon(call)
        try:
            return future.result()
        except BaseException:  # Ctrl-C among them: nothing goes on unseen
            future.cancel()
            raise


class SyncOrchestration(Generic[R]):
    """A handle on one orchestration, as `Orchestration` is, whose methods block."""

    def __init__(self, client: SyncClient, orchestration: Orchestration[R]) -> None:
        self._client = client
        self._orchestration = orchestration
        self.id = orchestration.id

    progress = _of_orchestration(Orchestration.progress)
    wait = _of_orchestration(Orchestration.wait)
    cancel = _of_orchestration(Orchestration.cancel)
    retry_failed = _of_orchestration(Orchestration.retry_failed)

    def results(self) -> tuple[list[InstanceResult[R]], list[InstanceResult[R]] | None]:
        """Wait for all, then (successes, failures or None), each by index and with its original params."""
        return self._client._run(self._orchestration.results)

    def stream_results(self, status: Status | None = None) -> Iterator[InstanceResult[R]]:
        """Every instance (of one status) as it finishes, in that order, until the last one is in."""
        results = self._orchestration.stream_results(status)
        while (one := self._client._run(partial(anext, results, None))) is not None:
            yield one
