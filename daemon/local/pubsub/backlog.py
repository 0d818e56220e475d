"""The backlog of a subscription: what waits to be handed out, what is backing off, and the queues of ordering keys.

Called by its subscription only. A key's messages go to one receiver at a time, in order; everything else goes to
whoever has room. It must not know leases or clocks: it is told what came back and until when to keep it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator

from daemon.local.pubsub.delivery import Delivery, OrderedQueue, Receiver
from daemon.local.pubsub.responses import MAX_RESPONSE_BYTES


class Backlog:
    """What a subscription has still to hand out."""

    def __init__(self) -> None:
        self._ready: deque[Delivery | OrderedQueue] = deque()
        self._later: list[tuple[float, int, Delivery | OrderedQueue]] = []
        self._ordered: dict[str, OrderedQueue] = {}
        self._in_order = 0
        self._sequence = itertools.count()

    @property
    def waiting(self) -> int:
        """How many messages could be handed out now; a little more where keys are in the queue."""
        return len(self._ready) + self._in_order

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Delivery]:
        """Everything that is not handed out."""
        parked = (entry for _, _, entry in self._later)
        yield from (entry for entry in itertools.chain(self._ready, parked) if isinstance(entry, Delivery))
        for ordered in self._ordered.values():
            yield from itertools.islice(ordered.items, ordered.cursor, None)

    def add(self, delivery: Delivery) -> None:
        """A message without an ordering key, at the end."""
        self._ready.append(delivery)

    def add_ordered(self, delivery: Delivery) -> None:
        """A message with an ordering key, behind the others of that key."""
        key = delivery.message.ordering_key
        ordered = self._ordered.get(key)
        if ordered is None:
            ordered = self._ordered[key] = OrderedQueue(key)
        delivery.ordered = ordered
        ordered.items.append(delivery)
        self._in_order += 1
        self._queue(ordered)

    def put_back(self, delivery: Delivery, due: float | None = None) -> None:
        """A message that came back: at the front, or no earlier than `due`."""
        if due is None:
            self._ready.appendleft(delivery)
        else:
            heapq.heappush(self._later, (due, next(self._sequence), delivery))

    def rewind(self, ordered: OrderedQueue, delivery: Delivery, due: float | None = None) -> list[Delivery]:
        """Put back what a ordered handed out from this one on, in order; returns it."""
        again = ordered.rewind(delivery)
        self._in_order += len(again)
        if due is not None and not ordered.parked:
            ordered.parked = True
            self._unqueue(ordered)
            heapq.heappush(self._later, (due, next(self._sequence), ordered))
        self.settle(ordered)
        return again

    def settle(self, ordered: OrderedQueue) -> None:
        """After acks or a rewind: drop what is done at the front, free the ordered if nothing of it is out."""
        ordered.trim()
        if ordered.cursor == 0:
            self._unqueue(ordered)
            ordered.owner = None
        if not ordered.items:
            self._ordered.pop(ordered.key, None)
        self._queue(ordered)

    def ripen(self, now: float) -> list[Delivery]:
        """Backing off is over: keys join the queue, single messages are returned."""
        ripe = []
        while self._later and self._later[0][0] <= now:
            entry = heapq.heappop(self._later)[2]
            if isinstance(entry, Delivery):
                ripe.append(entry)
            else:
                entry.parked = False
                self._queue(entry)
        return ripe

    def shuffle(self, distance: int) -> None:
        """Bring another message to the front."""
        self._ready.rotate(-distance)

    def take(self, receiver: Receiver, count: int) -> list[Delivery]:
        """Up to `count` messages for this receiver: one response's worth, within its limit of bytes."""
        taken: list[Delivery] = []
        room = min(receiver.room_bytes, MAX_RESPONSE_BYTES)
        queue, other = receiver.own, self._ready
        while len(taken) < count and (queue or other):
            if other:  # by turns, so that no key and no stream of messages without one starves the rest
                queue, other = other, queue
            entry = queue[0]
            delivery = entry if isinstance(entry, Delivery) else entry.items[entry.cursor]
            room -= delivery.message.size + 32  # its frame and ack id
            if room < 0 and (taken or not receiver.holds_nothing):
                break  # one that is larger than all room goes alone
            queue.popleft()
            if isinstance(entry, OrderedQueue):
                self._advance(entry, receiver)
            taken.append(delivery)
        return taken

    def _advance(self, ordered: OrderedQueue, receiver: Receiver) -> None:
        ordered.queued = False
        ordered.owner = receiver
        ordered.cursor += 1
        self._in_order -= 1
        if ordered.waiting:
            ordered.queued = True
            receiver.own.append(ordered)

    def _queue(self, ordered: OrderedQueue) -> None:
        if ordered.waiting and not ordered.queued and not ordered.parked:
            ordered.queued = True
            (ordered.owner.own if ordered.owner else self._ready).append(ordered)

    def _unqueue(self, ordered: OrderedQueue) -> None:
        if ordered.queued:
            (ordered.owner.own if ordered.owner else self._ready).remove(ordered)
            ordered.queued = False
