"""A delivery, the queue of its ordering key, and the receiver that holds it: three records that refer to each other.

Made by subscriptions (deliveries), their backlog (queues) and the Subscriber service (receivers: a StreamingPull stream
or one Pull call). A receiver counts what it holds against its limits (flow control) and takes one batch at a time, so
that a slow reader holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from daemon.local.pubsub.message import Message
from daemon.local.pubsub.rpc_error import RpcError

NUMBERS = itertools.count(1)


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way through one subscription; `attempt` counts how often it was handed out."""

    message: Message
    ordered: OrderedQueue | None = None  # the queue of its ordering key
    attempt: int = 0
    ack_id: str = ""  # new at every hand-out
    receiver: Receiver | None = None  # who holds it, or held it last
    deadline: float = 0.0
    slot: int = 0
    has_receipt: bool = False  # its deadline was changed since it was handed out
    acked: bool = False  # only in a ordered, where an acked message may have to be replayed


class OrderedQueue:
    """The messages of one ordering key, oldest first: handed out before `cursor`, waiting from there on."""

    __slots__ = ("cursor", "items", "key", "owner", "parked", "queued")

    def __init__(self, key: str) -> None:
        self.key = key
        self.items: deque[Delivery] = deque()
        self.cursor = 0
        self.owner: Receiver | None = None  # holds all that is handed out
        self.queued = False  # stands in the queue of its owner, or in the common one
        self.parked = False  # backing off

    @property
    def waiting(self) -> int:
        return len(self.items) - self.cursor

    def trim(self) -> None:
        """Forget what is acked at the front; with nothing handed out, the ordered is anybody's."""
        while self.items and self.items[0].acked:
            self.items.popleft()
            self.cursor -= 1

    def rewind(self, delivery: Delivery) -> list[Delivery]:
        """Everything handed out from this one on has to go out again, acked or not."""
        start = self.items.index(delivery)
        again = list(itertools.islice(self.items, start, self.cursor))
        self.cursor = start
        return again


class Receiver:
    """Limits of 0 or less mean no limit; `own` is what only this receiver may be given.

    writer: the task that writes its batches, if it may be cancelled when the call is ended.
    """

    def __init__(
        self,
        *,
        lease_seconds: float,
        max_messages: int = 0,
        max_bytes: int = 0,
        writer: asyncio.Task[object] | None = None,
    ) -> None:
        self.number = next(NUMBERS)
        self.lease_seconds = lease_seconds
        self.max_messages = max_messages if max_messages > 0 else sys.maxsize
        self.max_bytes = max_bytes if max_bytes > 0 else sys.maxsize
        self.own: deque[Delivery | OrderedQueue] = deque()
        self.on_room: Callable[[], None] = lambda: None
        self._held = 0
        self._held_bytes = 0
        self._batch: asyncio.Future[list[Delivery] | None] | None = None
        self._finished = False
        self._writer = writer
        self.refusal: RpcError | None = None  # why the server ended the call

    def hold(self, size: int) -> None:
        self._held += 1
        self._held_bytes += size

    def release(self, size: int) -> None:
        self._held -= 1
        self._held_bytes -= size

    @property
    def streams(self) -> bool:
        """Whether it is a stream; what a Pull call is given needs no receipt."""
        return self._writer is not None

    @property
    def holds_nothing(self) -> bool:
        return self._held == 0

    @property
    def room(self) -> int:
        """How many messages it may be given now."""
        if self._batch is None or self._batch.done() or self.room_bytes <= 0:
            return 0
        return max(0, self.max_messages - self._held)

    @property
    def room_bytes(self) -> int:
        return self.max_bytes - self._held_bytes

    def ask(self) -> asyncio.Future[list[Delivery] | None]:
        """The next batch; None when the receiver is to finish, a RpcError when it was ended."""
        self._batch = asyncio.get_running_loop().create_future()
        if self.refusal is not None:
            self._batch.set_exception(self.refusal)
        elif self._finished:
            self._batch.set_result(None)
        else:
            self.on_room()
        return self._batch

    def give(self, batch: list[Delivery]) -> None:
        """Only when it asked; an empty batch is a sign of life."""
        if self._batch is not None and not self._batch.done():
            self._batch.set_result(batch)

    def finish(self) -> None:
        """No more messages: the other side closed its half of the stream."""
        self._finished = True
        if self._batch is not None and not self._batch.done():
            self._batch.set_result(None)

    def end(self, refusal: RpcError) -> None:
        """No more messages: the server ends the call, even one that is stuck in a write nobody reads."""
        self.refusal = refusal
        if self._batch is not None and not self._batch.done():
            self._batch.set_exception(refusal)
        elif self._writer is not None:
            self._writer.cancel()
