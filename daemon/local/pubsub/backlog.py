"""The backlog of a subscription: what waits to be handed out, what is backing off, and the lanes of ordering keys.

Called by its subscription only. A key's messages go to one receiver at a time, in order; everything else goes to
whoever has room. It must not know leases or clocks: it is told what came back and until when to keep it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator

from daemon.local.pubsub.leases import Delivery
from daemon.local.pubsub.receiver import Receiver
from daemon.local.pubsub.wire import MAX_RESPONSE_BYTES


class Lane:
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
        """Forget what is acked at the front; with nothing handed out, the lane is anybody's."""
        while self.items and self.items[0].acked:
            self.items.popleft()
            self.cursor -= 1

    def rewind(self, delivery: Delivery) -> list[Delivery]:
        """Everything handed out from this one on has to go out again, acked or not."""
        start = self.items.index(delivery)
        again = list(itertools.islice(self.items, start, self.cursor))
        self.cursor = start
        return again


class Backlog:
    """What a subscription has still to hand out."""

    def __init__(self) -> None:
        self._ready: deque[Delivery | Lane] = deque()
        self._later: list[tuple[float, int, Delivery | Lane]] = []
        self._lanes: dict[str, Lane] = {}
        self._in_lanes = 0
        self._sequence = itertools.count()

    @property
    def waiting(self) -> int:
        """How many messages could be handed out now; a little more where lanes are in the queue."""
        return len(self._ready) + self._in_lanes

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Delivery]:
        """Everything that is not handed out."""
        parked = (entry for _, _, entry in self._later)
        yield from (entry for entry in itertools.chain(self._ready, parked) if isinstance(entry, Delivery))
        for lane in self._lanes.values():
            yield from itertools.islice(lane.items, lane.cursor, None)

    def add(self, delivery: Delivery) -> None:
        """A message without an ordering key, at the end."""
        self._ready.append(delivery)

    def add_to_lane(self, delivery: Delivery) -> None:
        """A message with an ordering key, behind the others of that key."""
        key = delivery.message.ordering_key
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        delivery.lane = lane
        lane.items.append(delivery)
        self._in_lanes += 1
        self._queue(lane)

    def put_back(self, delivery: Delivery, due: float | None = None) -> None:
        """A message that came back: at the front, or no earlier than `due`."""
        if due is None:
            self._ready.appendleft(delivery)
        else:
            heapq.heappush(self._later, (due, next(self._sequence), delivery))

    def rewind(self, lane: Lane, delivery: Delivery, due: float | None = None) -> list[Delivery]:
        """Put back what a lane handed out from this one on, in order; returns it."""
        again = lane.rewind(delivery)
        self._in_lanes += len(again)
        if due is not None and not lane.parked:
            lane.parked = True
            self._unqueue(lane)
            heapq.heappush(self._later, (due, next(self._sequence), lane))
        self.settle(lane)
        return again

    def settle(self, lane: Lane) -> None:
        """After acks or a rewind: drop what is done at the front, free the lane if nothing of it is out."""
        lane.trim()
        if lane.cursor == 0:
            self._unqueue(lane)
            lane.owner = None
        if not lane.items:
            self._lanes.pop(lane.key, None)
        self._queue(lane)

    def ripen(self, now: float) -> list[Delivery]:
        """Backing off is over: lanes join the queue, single messages are returned."""
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
            if isinstance(entry, Lane):
                self._advance(entry, receiver)
            taken.append(delivery)
        return taken

    def _advance(self, lane: Lane, receiver: Receiver) -> None:
        lane.queued = False
        lane.owner = receiver
        lane.cursor += 1
        self._in_lanes -= 1
        if lane.waiting:
            lane.queued = True
            receiver.own.append(lane)

    def _queue(self, lane: Lane) -> None:
        if lane.waiting and not lane.queued and not lane.parked:
            lane.queued = True
            (lane.owner.own if lane.owner else self._ready).append(lane)

    def _unqueue(self, lane: Lane) -> None:
        if lane.queued:
            (lane.owner.own if lane.owner else self._ready).remove(lane)
            lane.queued = False
