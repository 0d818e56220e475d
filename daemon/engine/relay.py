"""The relay: publishes everything that is due of one kind, jobs or events, and nothing before its commit.

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
from daemon.observe import Observer
from daemon.outbox import OutboxItem

BATCH = 500
REQUEUE_SECONDS = 0.5
SPLIT_SECONDS = 10.0  # well within a lease: what is not published by then is given back, due

Outgoing = tuple[bytes, Mapping[str, str]]
Message = TypeVar("Message")


class Outbox(Protocol[Message]):
    """What is due, in the database."""

    async def lease(self, limit: int) -> list[OutboxItem[Message]]: ...

    async def mark_published(self, items: Sequence[OutboxItem[Message]]) -> None: ...

    async def requeue(self, items: Sequence[OutboxItem[Message]]) -> None: ...

    async def refuse(self, item: OutboxItem[Message], reason: str) -> None: ...


class Publisher(Protocol):
    """Where messages go."""

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> None:
        """Publish a batch; raises PublishFailed, or PublishRefused for what it holds."""
        ...


class Relay(Generic[Message]):
    """Publishes what is due of one `kind` ("job" or "event"), a batch a call."""

    def __init__(
        self,
        kind: str,
        outbox: Outbox[Message],
        publisher: Publisher,
        topic: str,
        encode: Callable[[Message], Outgoing],
        observer: Observer,
    ) -> None:
        self._kind = kind
        self._outbox = outbox
        self._publisher = publisher
        self._topic = topic
        self._encode = encode
        self._observer = observer

    async def publish_due(self) -> bool:
        """Publish one batch, as a whole or in parts, each part marked at once; True when there may be more."""
        items = await self._outbox.lease(BATCH)
        if not items:
            return False
        parts = deque([items])
        end = time.monotonic() + SPLIT_SECONDS
        try:
            while parts and time.monotonic() < end:
                await self._publish_first(parts)
        except PublishFailed as error:
            left = _joined(parts)
            self._observer.publish_failed(self._kind, len(left), error)
            await self._outbox.requeue(left)
            raise
        except (Exception, CancelledError):  # in a drain: else these would wait for the lease's date
            with anyio.move_on_after(REQUEUE_SECONDS, shield=True):
                await self._outbox.requeue(_joined(parts))
            raise
        if parts:
            await self._outbox.requeue(_joined(parts))
        return bool(parts) or len(items) == BATCH

    async def _publish_first(self, parts: deque[list[OutboxItem[Message]]]) -> None:
        """Publish the first part. It stays among the parts until what became of it is written down."""
        part = parts[0]
        try:
            await self._publisher.publish(self._topic, [self._encode(item.message) for item in part])
        except PublishRefused as error:
            if len(part) > 1:
                middle = len(part) // 2
                parts.popleft()
                parts.extendleft([part[middle:], part[:middle]])
                return
            self._observer.publish_refused(self._kind, str(part[0].id), error)
            await self._outbox.refuse(part[0], str(error))
        else:
            self._observer.published(self._kind, len(part))
            await self._outbox.mark_published(part)
        parts.popleft()


def _joined(parts: deque[list[OutboxItem[Message]]]) -> list[OutboxItem[Message]]:
    return [item for part in parts for item in part]
