"""Receiver: whoever can be given messages, a StreamingPull stream or one Pull call.

Made by the Subscriber service for a call, given batches by its subscription. It counts what it holds against its
limits (flow control) and takes one batch at a time, so that a slow reader holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.local.pubsub.backlog import Lane
    from daemon.local.pubsub.leases import Delivery
    from daemon.local.pubsub.refusal import Refusal

NUMBERS = itertools.count(1)


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
        self.own: deque[Delivery | Lane] = deque()
        self.on_room: Callable[[], None] = lambda: None
        self._held = 0
        self._held_bytes = 0
        self._batch: asyncio.Future[list[Delivery] | None] | None = None
        self._finished = False
        self._writer = writer
        self.refusal: Refusal | None = None  # why the server ended the call

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
        """The next batch; None when the receiver is to finish, a Refusal when it was ended."""
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

    def end(self, refusal: Refusal) -> None:
        """No more messages: the server ends the call, even one that is stuck in a write nobody reads."""
        self.refusal = refusal
        if self._batch is not None and not self._batch.done():
            self._batch.set_exception(refusal)
        elif self._writer is not None:
            self._writer.cancel()
