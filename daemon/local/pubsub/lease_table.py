"""Deliveries, and the leases under which receivers hold them until they ack, nack or run out of time.

Called by a subscription only. Deadlines sit in a wheel of 50 ms slots, so that granting, extending and ending one
cost the same whatever the number of leases. It must not decide what becomes of a delivery whose lease ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.local.pubsub.delivery import Delivery, Receiver

SLOTS_PER_SECOND = 20


class LeaseTable:
    """Who holds what until when, by ack id."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._granted = 0
        self._by_ack_id: dict[str, Delivery] = {}
        self._slots: dict[int, dict[Delivery, None]] = {}  # in order, so that a run can be repeated
        self._swept = 0  # the last slot that was looked at

    def __len__(self) -> int:
        return len(self._by_ack_id)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(list(self._by_ack_id.values()))

    def grant(self, deliveries: Iterable[Delivery], receiver: Receiver, now: float, seconds: float) -> None:
        deadline = now + seconds
        number = self._slot(deadline)
        slot = self._slots.setdefault(number, {})
        for delivery in deliveries:
            self._granted += 1
            delivery.ack_id = ack_id = f"{self._prefix}{self._granted}"
            delivery.attempt += 1
            delivery.receiver = receiver
            delivery.has_receipt = False
            delivery.deadline = deadline
            delivery.slot = number
            slot[delivery] = None
            self._by_ack_id[ack_id] = delivery
            receiver.hold(delivery.message.size)

    def find(self, ack_id: str) -> Delivery | None:
        return self._by_ack_id.get(ack_id)

    def extend(self, delivery: Delivery, now: float, seconds: float) -> None:
        """A later deadline moves the lease only when its old slot comes up; an earlier one moves it at once."""
        delivery.deadline = now + seconds
        number = self._slot(delivery.deadline)
        if number < delivery.slot:
            del self._slots[delivery.slot][delivery]
            self._put(delivery, number)

    def end(self, delivery: Delivery) -> None:
        """The lease is over, for whatever reason, and its receiver has a free place again."""
        del self._by_ack_id[delivery.ack_id]
        if slot := self._slots.get(delivery.slot):
            slot.pop(delivery, None)
        if delivery.receiver is not None:
            delivery.receiver.release(delivery.message.size)

    def expired(self, now: float) -> list[Delivery]:
        """Leases past their deadline; they are still in the table."""
        current = int(now * SLOTS_PER_SECOND)
        first = self._swept + 1 if self._swept else min(self._slots, default=current)
        self._swept = current
        due = []
        for number in range(first, current + 1):
            for delivery in self._slots.pop(number, ()):
                if delivery.deadline <= now:
                    due.append(delivery)
                else:
                    self._put(delivery, self._slot(delivery.deadline))
        return due

    def _put(self, delivery: Delivery, number: int) -> None:
        delivery.slot = number
        self._slots.setdefault(number, {})[delivery] = None

    def _slot(self, deadline: float) -> int:
        """The first slot that is looked at after the deadline, and never one that has passed."""
        return max(int(deadline * SLOTS_PER_SECOND) + 1, self._swept + 1)
