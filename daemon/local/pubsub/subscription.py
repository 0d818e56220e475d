"""Subscription: hands messages to its receivers and decides what an ack, a nack and a lost lease mean.

Called by the broker (publish, tick) and the Subscriber service (everything else), all on one event loop, without
locks. It wakes up once for any number of changes, and gives each receiver that has room its share. It must not know
gRPC calls: receivers are all it sees of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from daemon.local.pubsub.backlog import Backlog
from daemon.local.pubsub.delivery import Delivery, Receiver
from daemon.local.pubsub.faults import Faults
from daemon.local.pubsub.lease_table import LeaseTable
from daemon.local.pubsub.message import Message
from daemon.local.pubsub.rpc_error import RpcError
from daemon.local.pubsub.schema import Subscription as SubscriptionMessage
from daemon.local.pubsub.subscription_config import config_of

MAX_BATCH = 500  # for one receiver in one turn

Forward = Callable[["Subscription", Delivery], bool]


class Subscription:
    """One subscription. `forward` moves a delivery to the dead-letter topic, and says whether there is one."""

    def __init__(self, message: SubscriptionMessage, prefix: str, faults: Faults, forward: Forward) -> None:
        self.message = message
        self.config = config_of(message)
        self.name = message.name
        self.counts: Counter[str] = Counter()
        self.receivers: deque[Receiver] = deque()
        self.leases = LeaseTable(prefix)
        self.backlog = Backlog()
        self._kept: deque[Message] = deque()  # also acked ones, for seek
        self._faults = faults
        self._forward = forward
        self._woken = False

    def reconfigure(self, message: SubscriptionMessage) -> None:
        self.message, self.config = message, config_of(message)

    # Receivers

    def attach(self, receiver: Receiver) -> None:
        receiver.on_room = self.wake
        self.receivers.append(receiver)

    def detach(self, receiver: Receiver) -> None:
        """The call is over. What it holds stays leased until its deadline, as nobody gave it back."""
        receiver.on_room = lambda: None
        if receiver in self.receivers:
            self.receivers.remove(receiver)
        self._reclaim(receiver)
        self.wake()

    def end(self, refusal: RpcError) -> None:
        """End every call that waits for messages."""
        for receiver in list(self.receivers):
            receiver.end(refusal)

    # Messages

    def publish(self, message: Message) -> None:
        """A newly published message that passed the filter; the caller wakes the subscription afterwards."""
        self.counts["published"] += 1
        if self.config.retain_acked:
            self._kept.append(message)
            while self._kept[0].published < message.published - self.config.retention:
                self._kept.popleft()
        self._enqueue(Delivery(message))

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._hand_out)

    def acknowledge(self, ack_ids: Iterable[str]) -> list[str]:
        """Returns the ids that hold no lease: harmless, unless delivery is exactly once."""
        stale = []
        for ack_id in ack_ids:
            delivery = self.leases.find(ack_id)
            if delivery is None:
                stale.append(ack_id)
            elif not self._faults.loses_ack():
                self.counts["acked"] += 1
                self._done(delivery)
        self.wake()
        return stale

    def modify(self, ack_ids: Iterable[str], seconds: int) -> list[str]:
        """0 seconds is a nack. Returns the ids that hold no lease."""
        stale = []
        now = time.monotonic()
        for ack_id in ack_ids:
            delivery = self.leases.find(ack_id)
            if delivery is None:
                stale.append(ack_id)
            elif seconds > 0:
                self.counts["receipts"] += not delivery.has_receipt
                delivery.has_receipt = True
                self.leases.extend(delivery, now, seconds)
            else:
                self.counts["nacked"] += 1
                self._came_back(delivery, now)
        self.wake()
        return stale

    def tick(self, now: float) -> None:
        """Take back what ran out of time, bring up what was backing off."""
        for delivery in reversed(self.leases.expired(now)):  # each is put in front of the others
            if self.leases.find(delivery.ack_id) is delivery:  # not taken back with its ordered just before
                self.counts["expired"] += 1
                self._came_back(delivery, now)
        ripe = self.backlog.ripen(now)
        for delivery in ripe:
            self._route(delivery)
        if self.receivers and (ripe or self.backlog.waiting):
            self.wake()

    def expire_leases(self) -> int:
        """End every lease now, as if its time had run out."""
        count = len(self.leases)
        for delivery in self.leases:
            self.leases.extend(delivery, 0.0, 0.0)
        return count

    def seek(self, moment: float) -> None:
        """Everything published before the moment counts as acked, everything after it (that is still kept) does not."""
        for receiver in self.receivers:
            self._reclaim(receiver)
        waiting = {delivery.message.number: delivery.message for delivery in self.backlog}
        for delivery in self.leases:
            if delivery.ordered is not None:
                waiting[delivery.message.number] = delivery.message
            if delivery.ordered is not None or delivery.message.published < moment:
                self.leases.end(delivery)
        leased = {delivery.message.number for delivery in self.leases}
        waiting |= {message.number: message for message in self._kept if message.number not in leased}
        for receiver in self.receivers:
            receiver.own.clear()
        self.backlog = Backlog()
        for message in sorted(waiting.values(), key=lambda message: message.number):
            if message.published >= moment:
                self._enqueue(Delivery(message))
        self.wake()

    def clear(self) -> None:
        """Forget every message (the subscription was detached)."""
        self._kept.clear()
        self.seek(time.time() + 1)
        for delivery in self.leases:
            self.leases.end(delivery)

    # Steps

    def _reclaim(self, receiver: Receiver) -> None:
        """Take back what stands in the receiver's own queue; keys stay while it holds some of their messages."""
        for entry in [entry for entry in receiver.own if isinstance(entry, Delivery)]:
            receiver.own.remove(entry)
            self.backlog.put_back(entry)

    def _enqueue(self, delivery: Delivery) -> None:
        if self.config.ordered and delivery.message.ordering_key:
            self.backlog.add_ordered(delivery)
        else:
            self.backlog.add(delivery)

    def _hand_out(self) -> None:
        """Every receiver with room gets an even share of what waits; the next turn begins with another one."""
        self._woken = False
        waiting = self.backlog.waiting
        if self._faults.is_paused(self.name):
            return
        ready = [receiver for receiver in self.receivers if receiver.room]
        if not ready:
            return
        share = min(MAX_BATCH, max(1, -(-waiting // len(ready))))
        for receiver in ready:
            if self._faults.hostility is not None:
                self._disturb_order(receiver)
            batch = self.backlog.take(receiver, min(share, receiver.room))
            if batch:
                no_timer_yet = self._faults.receipt_seconds if receiver.streams else 0.0
                self.leases.grant(batch, receiver, time.monotonic(), no_timer_yet + receiver.lease_seconds)
                self.counts["delivered"] += len(batch)
                if self._faults.hostility is not None:
                    self._repeat(batch)
                receiver.give(batch)
        self.receivers.rotate(-1)

    def _done(self, delivery: Delivery) -> None:
        self.leases.end(delivery)
        if delivery.ordered is not None:
            delivery.acked = True
            self.backlog.settle(delivery.ordered)

    def _came_back(self, delivery: Delivery, now: float) -> None:
        """A nack or a lost lease: dead letter, back off, or again at once."""
        spent = self.config.dead_letter_topic and delivery.attempt >= self.config.max_attempts
        if spent and self._forward(self, delivery):
            self.counts["dead_lettered"] += 1
            self._done(delivery)
            return
        delay = self.config.delay(delivery.attempt)
        due = None if delay is None else now + delay
        if delivery.ordered is None:
            self.leases.end(delivery)
            self.backlog.put_back(delivery, due)
            return
        for again in self.backlog.rewind(delivery.ordered, delivery, due):
            if not again.acked:
                self.leases.end(again)
            again.acked = False

    def _route(self, delivery: Delivery) -> None:
        """After a delay: to whoever has room, or in hostile mode to another receiver than the one before."""
        hostility = self._faults.hostility
        others = [receiver for receiver in self.receivers if receiver.room and receiver is not delivery.receiver]
        if hostility is not None and delivery.receiver is not None and others:
            hostility.chance.choice(others).own.append(delivery)
        else:
            self.backlog.put_back(delivery)

    # Hostile mode

    def _disturb_order(self, receiver: Receiver) -> None:
        hostility = self._faults.hostility
        if hostility is not None and hostility.happens(hostility.reorder):
            self.backlog.shuffle(hostility.chance.randrange(1, 100))

    def _repeat(self, batch: list[Delivery]) -> None:
        """Copies of some deliveries, to come at once or later; keys in order and exactly-once stay what they are."""
        hostility = self._faults.hostility
        if hostility is None or self.config.exactly_once:
            return
        for delivery in batch:
            if delivery.ordered is not None:
                continue
            if hostility.happens(hostility.duplicate):
                self.backlog.put_back(Delivery(delivery.message))
            if hostility.happens(hostility.late):
                copy = Delivery(delivery.message, receiver=delivery.receiver)
                delay = hostility.chance.uniform(0.05, hostility.late_seconds)
                self.backlog.put_back(copy, time.monotonic() + delay)
