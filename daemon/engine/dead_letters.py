"""Consumes the dead-letter subscription, so that no orchestration waits for a message that Pub/Sub has given up.

Called by a ticker. Pub/Sub gives a message up because it was given back often, which says nothing about its job: the
job is published again, and only its third dead letter without a run in between ends it (kind DeadLettered). What can't
be a job is kept as rejected. Everything is stored before it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from daemon.dead_letter import DeadLetter, PulledMessage, RecordedDeadLetters
from daemon.errors import DecodeError
from daemon.observe import Observer
from daemon.rules.messages import decode

BATCH = 100
WAIT_SECONDS = 1.0
SOURCE = "CloudPubSubDeadLetterSource"


class Puller(Protocol):
    """Unary pulls of the dead-letter subscription; `retention` is for how many seconds one keeps its messages."""

    async def pull(self, subscription: str, limit: int, wait_seconds: float) -> Sequence[PulledMessage]: ...

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None: ...

    async def retention(self, subscription: str) -> float: ...


class DeadLetterStore(Protocol):
    """Where dead letters end: counted against their jobs, or archived as rejected messages."""

    async def record(self, letters: Sequence[DeadLetter], retention: float) -> RecordedDeadLetters: ...

    async def archive(self, message: PulledMessage, reason: str, text: str) -> None: ...


class DeadLetterConsumer:
    """Takes the dead letters of `source`, the subscription of the jobs, from the `subscription` that gets them."""

    def __init__(
        self, puller: Puller, store: DeadLetterStore, subscription: str, source: str, observer: Observer
    ) -> None:
        self._puller = puller
        self._store = store
        self._subscription = subscription
        self._source = source
        self._observer = observer

    async def consume(self) -> bool:
        """One batch; True when there may be more."""
        pulled = await self._puller.pull(self._subscription, BATCH, WAIT_SECONDS)
        if not pulled:
            return False
        retention = await self._puller.retention(self._source)
        jobs: dict[str, UUID] = {}  # by ack id
        letters: dict[UUID, DeadLetter] = {}
        archived = 0
        for raw in pulled:
            try:
                message = decode(raw.data, raw.attributes, original_id(raw))
            except DecodeError as error:
                await self._store.archive(raw, error.reason, str(error))
                archived += 1
                continue
            jobs[raw.ack_id] = message.job_id
            letter = DeadLetter(message, first_published(raw.attributes), history(raw.attributes))
            letters[message.job_id] = _newer(letters.get(message.job_id), letter)
        recorded = await self._store.record(list(letters.values()), retention)
        for raw in pulled:
            why = recorded.refused.get(jobs[raw.ack_id]) if raw.ack_id in jobs else None
            if why is not None:
                await self._store.archive(raw, "DeadLettered", f"{history(raw.attributes)}; {why}")
                archived += 1
        await self._puller.acknowledge(self._subscription, [raw.ack_id for raw in pulled])
        self._observer.dead_lettered(recorded.again, recorded.ended, archived)
        return len(pulled) == BATCH


def original_id(raw: PulledMessage) -> str:
    """The id that the message had on its first topic, if Pub/Sub says it, else its own."""
    return raw.attributes.get(f"{SOURCE}MessageId", raw.message_id)


def first_published(attributes: Mapping[str, str]) -> datetime | None:
    """When the message was published on its first topic; None when Pub/Sub does not say it in a form we know."""
    try:
        moment = datetime.fromisoformat(attributes.get(f"{SOURCE}TopicPublishTime", ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def history(attributes: Mapping[str, str]) -> str:
    """What Pub/Sub tells about the deliveries, in words (attributes CloudPubSubDeadLetterSource*)."""
    count = attributes.get(f"{SOURCE}DeliveryCount", "an unknown number of")
    source = attributes.get(f"{SOURCE}Subscription", "unknown")
    published = attributes.get(f"{SOURCE}TopicPublishTime", "unknown")
    return f"Pub/Sub gave the message up after {count} deliveries (subscription {source}, published {published})"


def _newer(one: DeadLetter | None, other: DeadLetter) -> DeadLetter:
    """Of two dead letters of one job the one that was published last."""
    if one is None or one.first_published is None:
        return other
    return other if other.first_published is not None and other.first_published > one.first_published else one
