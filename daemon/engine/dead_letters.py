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

from daemon.errors import DecodeError
from daemon.job import DeadLetter, RecordedDeadLetters
from daemon.observe import Observer
from daemon.rules.messages import decode

BATCH = 100
WAIT_SECONDS = 1.0
SOURCE = "CloudPubSubDeadLetterSource"


class Letter(Protocol):
    """A message as it was pulled from the dead-letter subscription."""

    @property
    def data(self) -> bytes:
        """The original body."""
        ...

    @property
    def attributes(self) -> Mapping[str, str]:
        """The original attributes, and Pub/Sub's own about the delivery."""
        ...

    @property
    def message_id(self) -> str:
        """Its id on the dead-letter topic."""
        ...

    @property
    def publish_time(self) -> float:
        """When it was given up: seconds since the epoch."""
        ...

    @property
    def ack_id(self) -> str:
        """What acknowledging takes."""
        ...


class Puller(Protocol):
    """Unary pulls of the dead-letter subscription."""

    async def pull(self, subscription: str, limit: int, wait_seconds: float) -> Sequence[Letter]:
        """Up to `limit` messages."""
        ...

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Never again."""
        ...

    async def retention(self, subscription: str) -> float:
        """For how many seconds a subscription keeps its messages."""
        ...


class DeadLetterStore(Protocol):
    """Where dead letters end."""

    async def record(self, letters: Sequence[DeadLetter], retention: float) -> RecordedDeadLetters:
        """Count them against their jobs; those published less than `retention` seconds ago may make one."""
        ...

    async def archive(self, letter: Letter, reason: str, text: str) -> None:
        """Keep a message as rejected."""
        ...


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
        letters = await self._puller.pull(self._subscription, BATCH, WAIT_SECONDS)
        if not letters:
            return False
        retention = await self._puller.retention(self._source)
        jobs: dict[str, UUID] = {}  # by the letter's ack id
        decoded: dict[UUID, DeadLetter] = {}
        kept = 0
        for letter in letters:
            try:
                message = decode(letter.data, letter.attributes, original_id(letter))
            except DecodeError as error:
                await self._store.archive(letter, error.reason, str(error))
                kept += 1
                continue
            jobs[letter.ack_id] = message.job_id
            one = DeadLetter(message, first_published(letter.attributes), history(letter.attributes))
            decoded[message.job_id] = _newer(decoded.get(message.job_id), one)
        recorded = await self._store.record(list(decoded.values()), retention)
        for letter in letters:
            why = recorded.refused.get(jobs[letter.ack_id]) if letter.ack_id in jobs else None
            if why is not None:
                await self._store.archive(letter, "DeadLettered", f"{history(letter.attributes)}; {why}")
                kept += 1
        await self._puller.acknowledge(self._subscription, [letter.ack_id for letter in letters])
        self._observer.dead_lettered(recorded.again, recorded.ended, kept)
        return len(letters) == BATCH


def original_id(letter: Letter) -> str:
    """The id that the message had on its first topic, if Pub/Sub says it, else its own."""
    return letter.attributes.get(f"{SOURCE}MessageId", letter.message_id)


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
