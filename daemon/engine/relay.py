"""The relay: publishes everything that is due, jobs and events, and nothing before its commit.

Woken by settlements that completed an orchestration, and once a second for what a crash or a date left behind. It runs
in every worker; leases and locks in the database keep the relays apart.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import anyio

from daemon.errors import PublishFailed
from daemon.job import JobMessage
from daemon.observe import Observer
from daemon.orchestration import CompletedOrchestration
from daemon.rules.envelope import encode
from daemon.rules.events import event_attributes, event_body

BATCH = 500
PULL_BACK_SECONDS = 0.5


class LeasedJob(Protocol):
    """A due job that is ours to publish."""

    @property
    def message(self) -> JobMessage:
        """What to publish."""
        ...


Lease = TypeVar("Lease", bound=LeasedJob)


class Due(Protocol[Lease]):
    """What is due, in the database."""

    async def lease(self, limit: int) -> list[Lease]:
        """Take due jobs, dated ahead and committed."""
        ...

    async def confirm(self, leased: Sequence[Lease]) -> None:
        """They have been published: not due again for long."""
        ...

    async def pull_back(self, leased: Sequence[Lease]) -> None:
        """They could not be published: due again."""
        ...

    async def publish_events(
        self, limit: int, publish: Callable[[list[CompletedOrchestration]], Awaitable[None]]
    ) -> int:
        """Publish and mark due events; how many."""
        ...


class Bus(Protocol):
    """Where messages go."""

    async def publish(self, topic: str, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:
        """Publish a batch; raises PublishFailed."""
        ...


class Relay(Generic[Lease]):
    """Publishes due jobs and due events, a batch a call."""

    def __init__(
        self, due: Due[Lease], bus: Bus, jobs_topic: str, events_topic: str, source: str, observer: Observer
    ) -> None:
        self._due = due
        self._bus = bus
        self._jobs_topic = jobs_topic
        self._events_topic = events_topic
        self._source = source
        self._observer = observer

    async def publish_jobs(self) -> bool:
        """Publish one batch of due jobs; True when there may be more."""
        leased = await self._due.lease(BATCH)
        if not leased:
            return False
        try:
            await self._bus.publish(self._jobs_topic, [encode(one.message) for one in leased])
        except PublishFailed as error:
            self._observer.publish_failed("job", len(leased), error)
            await self._due.pull_back(leased)
            raise
        except (Exception, CancelledError):  # in a drain: else these jobs would wait for the lease's far date
            with anyio.move_on_after(PULL_BACK_SECONDS, shield=True):
                await self._due.pull_back(leased)
            raise
        self._observer.published("job", len(leased))
        await self._due.confirm(leased)
        return len(leased) == BATCH

    async def publish_events(self) -> bool:
        """Publish one batch of due events; True when there may be more."""
        return await self._due.publish_events(BATCH, self._send_events) == BATCH

    async def _send_events(self, events: list[CompletedOrchestration]) -> None:
        try:
            await self._bus.publish(
                self._events_topic, [(event_body(one), event_attributes(one, self._source)) for one in events]
            )
        except PublishFailed as error:
            self._observer.publish_failed("event", len(events), error)
            raise
        self._observer.published("event", len(events))
