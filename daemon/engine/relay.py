"""The relay: publishes everything that is due, jobs and events, and nothing before its commit.

Woken by settlements that completed an orchestration, and once a second for what a crash or a date left behind. It runs
in every worker; leases in the database keep the relays apart. A batch that Pub/Sub refuses for what it holds is split
until the refused messages stand alone; one that fails for any other reason is never split.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import anyio

from daemon.errors import PublishFailed, PublishRefused
from daemon.job import JobMessage
from daemon.observe import Observer
from daemon.orchestration import CompletedOrchestration
from daemon.rules.events import event_attributes, event_body
from daemon.rules.messages import encode

BATCH = 500
PULL_BACK_SECONDS = 0.5
SPLIT_SECONDS = 10.0  # well within a lease: what is not published by then is given back, due

Outgoing = tuple[bytes, Mapping[str, str]]
Message = TypeVar("Message", covariant=True)


class Leased(Protocol[Message]):
    """Something due that is ours to publish."""

    @property
    def message(self) -> Message:
        """What to publish."""
        ...

    @property
    def name(self) -> str:
        """What operators know it by: the id of its job or orchestration."""
        ...


Lease = TypeVar("Lease")
JobLease = TypeVar("JobLease", bound=Leased[JobMessage])
EventLease = TypeVar("EventLease", bound=Leased[CompletedOrchestration])
AnyLease = TypeVar("AnyLease", bound=Leased[object])


class Due(Protocol[Lease]):
    """What is due, in the database."""

    async def lease(self, limit: int) -> list[Lease]:
        """Take what is due, dated ahead and committed."""
        ...

    async def confirm(self, leased: Sequence[Lease]) -> None:
        """They have been published."""
        ...

    async def pull_back(self, leased: Sequence[Lease]) -> None:
        """They could not be published: due again."""
        ...

    async def refuse(self, leased: Lease, reason: str) -> None:
        """Pub/Sub refuses this one: due again after a pause that grows."""
        ...


class Bus(Protocol):
    """Where messages go."""

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> None:
        """Publish a batch; raises PublishFailed, or PublishRefused for what it holds."""
        ...


class Relay(Generic[JobLease, EventLease]):
    """Publishes due jobs and due events, a batch a call."""

    def __init__(
        self,
        jobs: Due[JobLease],
        events: Due[EventLease],
        bus: Bus,
        jobs_topic: str,
        events_topic: str,
        source: str,
        observer: Observer,
    ) -> None:
        self._jobs = jobs
        self._events = events
        self._bus = bus
        self._jobs_topic = jobs_topic
        self._events_topic = events_topic
        self._source = source
        self._observer = observer

    async def publish_jobs(self) -> bool:
        """Publish one batch of due jobs; True when there may be more."""
        return await _Round("job", self._jobs, self._bus, self._jobs_topic, self._encode_job, self._observer).play()

    async def publish_events(self) -> bool:
        """Publish one batch of due events; True when there may be more."""
        topic = self._events_topic
        return await _Round("event", self._events, self._bus, topic, self._encode_event, self._observer).play()

    def _encode_job(self, leased: JobLease) -> Outgoing:
        return encode(leased.message)

    def _encode_event(self, leased: EventLease) -> Outgoing:
        return event_body(leased.message), event_attributes(leased.message, self._source)


class _Round(Generic[AnyLease]):
    """One batch on its way: leased, published as a whole or in parts, and each part's fate written down at once."""

    def __init__(
        self,
        what: str,
        due: Due[AnyLease],
        bus: Bus,
        topic: str,
        encoded: Callable[[AnyLease], Outgoing],
        observer: Observer,
    ) -> None:
        self._what = what
        self._due = due
        self._bus = bus
        self._topic = topic
        self._encoded = encoded
        self._observer = observer

    async def play(self) -> bool:
        """Publish what is due now; True when there may be more."""
        leased = await self._due.lease(BATCH)
        if not leased:
            return False
        parts = deque([leased])
        end = time.monotonic() + SPLIT_SECONDS
        try:
            while parts and time.monotonic() < end:
                await self._publish(parts)
        except PublishFailed as error:
            left = _together(parts)
            self._observer.publish_failed(self._what, len(left), error)
            await self._due.pull_back(left)
            raise
        except (Exception, CancelledError):  # in a drain: else these would wait for the lease's date
            with anyio.move_on_after(PULL_BACK_SECONDS, shield=True):
                await self._due.pull_back(_together(parts))
            raise
        if parts:
            await self._due.pull_back(_together(parts))
        return bool(parts) or len(leased) == BATCH

    async def _publish(self, parts: deque[list[AnyLease]]) -> None:
        """Publish the first part. It stays among the parts until its fate is written down."""
        part = parts[0]
        try:
            await self._bus.publish(self._topic, [self._encoded(one) for one in part])
        except PublishRefused as error:
            if len(part) > 1:
                middle = len(part) // 2
                parts.popleft()
                parts.extendleft([part[middle:], part[:middle]])
                return
            self._observer.publish_refused(self._what, part[0].name, error)
            await self._due.refuse(part[0], str(error))
        else:
            self._observer.published(self._what, len(part))
            await self._due.confirm(part)
        parts.popleft()


def _together(parts: deque[list[AnyLease]]) -> list[AnyLease]:
    return [one for part in parts for one in part]
