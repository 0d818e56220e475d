"""The producer's side: kick off an orchestration, follow it, and get its results split into successes and failures.

Used by the command line and by any Python service (`from daemon import Client`). The rows are committed first and
published after; whatever is lost in between is published by a worker's relay. Handlers never import this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, TypedDict, TypeVar, Unpack, overload
from uuid import UUID

from pydantic import JsonValue, TypeAdapter, ValidationError

from daemon.errors import PublishFailed, RequestRefused
from daemon.inspection import PausedJob
from daemon.job import JobMessage, Status
from daemon.kick_off import check_params, new_orchestration
from daemon.orchestration import InstanceResult, JobOutcome, OrchestrationState, R, RunningInstance
from daemon.outbox import OutboxItem
from daemon.postgres.database import async_engine
from daemon.postgres.handlers import secrets_in_params
from daemon.postgres.orchestrations import PAGE, Orchestrations
from daemon.postgres.outbox import JobOutbox
from daemon.postgres.pauses import Pauses
from daemon.postgres.retries import Retries
from daemon.postgres.terminations import Terminations
from daemon.pubsub.publisher import Publisher
from daemon.registry import Handler, handler_of
from daemon.rules.messages import encode
from daemon.rules.refused_params import why_refused
from daemon.rules.storable import parsed
from daemon.settings import Settings, load
from daemon.telemetry.tracing import producing

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

P = TypeVar("P")
AsyncFunction = Callable[Concatenate[P, ...], Coroutine[Any, Any, R]]
PlainFunction = Callable[Concatenate[P, ...], R]

PUBLISH_BATCH = 1_000
FIRST_LOOK = 0.05
LONGEST_LOOK = 1.0


class KickOffOptions(TypedDict, total=False):
    """What `Client.kick_off` takes by keyword."""

    tags: Mapping[str, str] | None
    deadline: timedelta | None
    start_at: datetime | None
    idempotency_key: str | None
    parallelism: int | None
    connection: AsyncConnection | None


class Client:
    """Kicks off and follows orchestrations. `async with Client() as client:` reads HEADCOUNT_* from the environment."""

    def __init__(self, settings: Settings | None = None, *, connections: int = 2) -> None:
        self._settings = settings or load()
        url = self._settings.database_url.get_secret_value()
        self._engine = async_engine(
            url, connections, self._settings.database_pooler, show_values=self._settings.log_values
        )
        self._publisher = Publisher()
        self._outbox = JobOutbox(self._engine, self._settings.republish_after_seconds)
        self._orchestrations = Orchestrations(self._engine)
        self._terminations = Terminations(self._engine)
        self._retries = Retries(self._engine)
        self._pauses = Pauses(self._engine)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._publisher.close()
        await self._engine.dispose()

    @overload
    async def kick_off(
        self, job: str, params: Iterable[object], **options: Unpack[KickOffOptions]
    ) -> Orchestration[JsonValue]: ...

    @overload
    async def kick_off(
        self, job: AsyncFunction[P, R], params: Iterable[P], **options: Unpack[KickOffOptions]
    ) -> Orchestration[R]: ...

    @overload
    async def kick_off(
        self, job: PlainFunction[P, R], params: Iterable[P], **options: Unpack[KickOffOptions]
    ) -> Orchestration[R]: ...

    async def kick_off(
        self,
        job: str | Callable[..., object],
        params: Iterable[object],
        *,
        tags: Mapping[str, str] | None = None,
        deadline: timedelta | None = None,
        start_at: datetime | None = None,
        idempotency_key: str | None = None,
        parallelism: int | None = None,
        connection: AsyncConnection | None = None,
    ) -> Orchestration[Any]:
        """Start one instance of a job per element of `params` (dicts, models: anything that dumps to an object).

        `job` is its handler, which checks the params before anything is stored, or the name of a job.
        With `idempotency_key` a repeated call gives the first orchestration back. With `connection` the rows join the
        caller's own transaction and are published by a relay about a second after its commit. `deadline` counts from
        now; `start_at` needs a time zone. At most `parallelism` instances run at once, over all workers. Raises
        RequestRefused for what could never run.
        """
        name, handler = (job, None) if isinstance(job, str) else _named(job)
        new = new_orchestration(name, params, tags or {}, deadline, start_at, idempotency_key, parallelism)
        if handler is not None:
            check_params(handler, new.params)
        with producing(name, new.id, len(new.params)) as traceparent:
            new = replace(new, traceparent=traceparent)
            created = await self._orchestrations.create(new, connection)
            if connection is None and start_at is None:
                await self._publish(created.jobs)
            return Orchestration(self, created.id, None if handler is None else handler.result)

    def orchestration(self, orchestration_id: UUID) -> Orchestration[JsonValue]:
        """A handle on an orchestration by its id; nothing is read yet."""
        return Orchestration(self, orchestration_id)

    async def state(self, orchestration_id: UUID) -> OrchestrationState:
        """Its counts now. Raises OrchestrationNotFound."""
        return await self._orchestrations.state(orchestration_id)

    async def outcomes(
        self, orchestration_id: UUID, after: int = 0, status: Status | None = None, limit: int = PAGE
    ) -> list[JobOutcome]:
        """A page of finished instances, in the order in which they finished."""
        return await self._orchestrations.outcomes(orchestration_id, after, status, limit)

    async def secrets_in_params(self, job_name: str) -> tuple[str, ...]:
        """Pointers to what is to be masked in the params of a job where people see them."""
        return await secrets_in_params(self._engine, job_name)

    async def running(self, orchestration_id: UUID, limit: int = 10) -> list[RunningInstance]:
        """At most `limit` instances that workers run now, with their progress, the longest running first."""
        return await self._orchestrations.running(orchestration_id, limit)

    async def cancel(self, orchestration_id: UUID) -> int:
        """End every unfinished instance; how many. Raises OrchestrationNotFound."""
        await self.state(orchestration_id)
        return await self._terminations.cancel(orchestration_id)

    async def retry_failed(self, orchestration_id: UUID) -> int:
        """Run the Errored instances again; how many."""
        return await self._retries.retry_failed(orchestration_id)

    async def pause(self, job_name: str, *, force: bool = False) -> None:
        """Begin no further job of this name in any worker, until it is resumed; those that run go on.

        Raises RequestRefused for a name that no worker has ever had a handler of, except with `force`.
        """
        await self._pauses.pause(job_name, force=force)

    async def resume(self, job_name: str) -> int:
        """Let a paused job begin again; how many were held back. Raises RequestRefused when it is not paused."""
        return await self._pauses.resume(job_name)

    async def paused(self) -> list[PausedJob]:
        """The job names that are paused."""
        return await self._pauses.paused()

    async def _publish(self, jobs: Sequence[OutboxItem[JobMessage]]) -> None:
        """The fast path. New rows are due some seconds later, so what fails here is published by a relay."""
        topic = self._settings.topic(self._settings.jobs_topic)
        for first in range(0, len(jobs), PUBLISH_BATCH):
            batch = jobs[first : first + PUBLISH_BATCH]
            try:
                await self._publisher.publish(topic, [encode(item.message) for item in batch])
            except PublishFailed:
                # Not an error for the caller: the rows are committed, and due now for the first relay to reach Pub/Sub.
                await self._outbox.requeue(jobs[first:])
                return
            await self._outbox.mark_first_published(batch)


class Orchestration(Generic[R]):
    """A handle on one orchestration. Its results are of the type `result`, or JSON."""

    def __init__(self, client: Client, orchestration_id: UUID, result: TypeAdapter[R] | None = None) -> None:
        self._client = client
        self._result = result
        self.id = orchestration_id

    async def progress(self) -> OrchestrationState:
        """Its counts now."""
        return await self._client.state(self.id)

    async def wait(self, timeout: float | None = None) -> OrchestrationState:
        """Wait until every instance has left InProgress. Raises TimeoutError after `timeout` seconds."""
        pause = FIRST_LOOK
        async with asyncio.timeout(timeout):
            while True:
                state = await self.progress()
                if state.completed_at is not None:
                    return state
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_LOOK)

    async def results(self) -> tuple[list[InstanceResult[R]], list[InstanceResult[R]] | None]:
        """Wait for all, then (successes, failures or None), each by index and with its original params.

        Raises RequestRefused for a stored result that is not of the handler's type.
        """
        await self.wait()
        successes: list[InstanceResult[R]] = []
        failures: list[InstanceResult[R]] = []
        async for one in self.stream_results():
            (successes if one.error is None else failures).append(one)
        successes.sort(key=lambda one: one.index)
        failures.sort(key=lambda one: one.index)
        return successes, failures or None

    async def stream_results(self, status: Status | None = None) -> AsyncIterator[InstanceResult[R]]:
        """Every instance (of one status) as it finishes, in that order, until the last one is in."""
        after, pause = 0, FIRST_LOOK
        while True:
            complete = (await self.progress()).completed_at is not None
            page = await self._client.outcomes(self.id, after, status)
            for one in page:
                after = one.finish_number
                yield _instance(one, self._result)
            if page:
                pause = FIRST_LOOK
            elif complete:
                return
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_LOOK)

    async def cancel(self) -> int:
        """End every unfinished instance as Errored (kind Cancelled); how many."""
        return await self._client.cancel(self.id)

    async def retry_failed(self) -> int:
        """Run the Errored instances of the complete orchestration again; how many."""
        return await self._client.retry_failed(self.id)


def _named(function: Callable[..., object]) -> tuple[str, Handler]:
    handler = handler_of(function)
    return handler.name, handler


def _instance(one: JobOutcome, kind: TypeAdapter[Any] | None) -> InstanceResult[Any]:
    result: object = None
    try:
        if one.result is not None:
            result = parsed(one.result) if kind is None else kind.validate_json(one.result)
    except ValidationError as error:
        text = f"the stored result of instance {one.index} is not of its handler's type: {why_refused(error, ())}"
        raise RequestRefused(text) from None
    return InstanceResult(one.job_id, one.index, parsed(one.params), result, one.error)
