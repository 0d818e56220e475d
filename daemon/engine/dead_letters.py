"""Consumes the dead-letter subscription, so that no orchestration waits for a message that Pub/Sub has given up.

Called by a ticker. A dead letter closes its job (kind DeadLettered), unless a worker holds it or it is finished; what
can't be a job is kept as rejected. Everything is stored before it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from daemon.errors import DecodeError
from daemon.job import JobError, JobMessage, Kind
from daemon.observe import Observer
from daemon.rules.envelope import decode

BATCH = 100
WAIT_SECONDS = 1.0


class DeadLetter(Protocol):
    """A message that Pub/Sub gave up delivering."""

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

    async def pull(self, subscription: str, limit: int, wait_seconds: float) -> Sequence[DeadLetter]:
        """Up to `limit` messages."""
        ...

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Never again."""
        ...


class Graveyard(Protocol):
    """Where dead letters end."""

    async def bury(self, letters: Sequence[tuple[JobMessage, JobError]]) -> frozenset[str]:
        """Close the jobs of these messages; the message ids of those that have no row at all."""
        ...

    async def keep(self, letter: DeadLetter, reason: str, text: str) -> None:
        """Keep a message as rejected."""
        ...


class DeadLetters:
    """Takes dead letters to their end."""

    def __init__(self, puller: Puller, graveyard: Graveyard, subscription: str, observer: Observer) -> None:
        self._puller = puller
        self._graveyard = graveyard
        self._subscription = subscription
        self._observer = observer

    async def consume(self) -> bool:
        """One batch; True when there may be more."""
        letters = await self._puller.pull(self._subscription, BATCH, WAIT_SECONDS)
        if not letters:
            return False
        decoded: dict[str, tuple[JobMessage, JobError]] = {}
        kept = 0
        for letter in letters:
            try:
                message = decode(letter.data, letter.attributes, original_id(letter))
                decoded[message.message_id] = (message, JobError(Kind.DEAD_LETTERED, history(letter.attributes)))
            except DecodeError as error:
                await self._graveyard.keep(letter, error.reason, str(error))
                kept += 1
        unknown = await self._graveyard.bury(list(decoded.values())) if decoded else frozenset()
        for letter in letters:
            if original_id(letter) in unknown:
                await self._graveyard.keep(letter, "DeadLettered", history(letter.attributes))
                kept += 1
        await self._puller.acknowledge(self._subscription, [letter.ack_id for letter in letters])
        self._observer.dead_lettered(len(decoded) - len(unknown), kept)
        return len(letters) == BATCH


def original_id(letter: DeadLetter) -> str:
    """The id that the message had on its first topic, if Pub/Sub says it, else its own."""
    return letter.attributes.get("CloudPubSubDeadLetterSourceMessageId", letter.message_id)


def history(attributes: Mapping[str, str]) -> str:
    """What Pub/Sub tells about the deliveries, in words (attributes CloudPubSubDeadLetterSource*)."""
    count = attributes.get("CloudPubSubDeadLetterSourceDeliveryCount", "an unknown number of")
    source = attributes.get("CloudPubSubDeadLetterSourceSubscription", "unknown")
    published = attributes.get("CloudPubSubDeadLetterSourceTopicPublishTime", "unknown")
    return f"Pub/Sub gave the message up after {count} deliveries (subscription {source}, published {published})"
