"""Whatever receivers do, in whatever order: nothing is lost, nothing acked comes back, keys stay in order."""

import asyncio
import time

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daemon.local.pubsub.delivery import Delivery, Receiver
from tests.unit.local_pubsub.made import Made, a_message, batch_of

LIMIT = 4


class AnySubscription(RuleBasedStateMachine):
    """Publishes plain messages and ones with keys to a few receivers that ack, nack, time out and go away."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = time.monotonic()
        self.receivers: list[Receiver] = []
        self.out: dict[str, Delivery] = {}  # by ack id, what a receiver may still answer
        self.unacked: set[int] = set()
        self.order: dict[str, list[int]] = {}  # of each key: what was published
        self.expected: dict[str, int] = {}  # of each key: which is to come next

    def teardown(self) -> None:
        self.loop.close()

    @initialize()
    def begin(self) -> None:
        self.subscription = Made(enable_message_ordering=True)
        self.join()

    @rule()
    def join(self) -> None:
        async def joined() -> Receiver:
            return self.subscription.receiver(max_messages=LIMIT)

        self.receivers.append(self.loop.run_until_complete(joined()))

    @rule(keys=st.lists(st.sampled_from(["", "", "a", "b"]), min_size=1, max_size=5))
    def publish(self, keys: list[str]) -> None:
        async def published() -> None:
            for key in keys:
                message = a_message(key=key)
                self.unacked.add(message.number)
                if key:
                    self.order.setdefault(key, []).append(message.number)
                self.subscription.publish(message)

        self.loop.run_until_complete(published())

    @rule(index=st.integers(0, 9))
    def receive(self, index: int) -> None:
        receiver = self.receivers[index % len(self.receivers)]
        for delivery in self.loop.run_until_complete(batch_of(receiver)):
            self.arrived(delivery)

    def arrived(self, delivery: Delivery) -> None:
        key, number = delivery.message.ordering_key, delivery.message.number
        if key:
            index = self.order[key].index(number)
            assert index == self.expected.get(key, 0), "a key's message came out of order"
            self.expected[key] = index + 1
        else:
            assert number in self.unacked, "an acked message came again"
        self.out[delivery.ack_id] = delivery

    @precondition(lambda self: self.out)
    @rule(index=st.integers(0, 99))
    def ack(self, index: int) -> None:
        ack_id = sorted(self.out)[index % len(self.out)]
        delivery = self.out.pop(ack_id)
        self.unacked.discard(delivery.message.number)

        async def acked() -> list[str]:
            return self.subscription.acknowledge([ack_id])

        assert self.loop.run_until_complete(acked()) == []

    @precondition(lambda self: self.out)
    @rule(index=st.integers(0, 99))
    def nack(self, index: int) -> None:
        ack_id = sorted(self.out)[index % len(self.out)]
        delivery = self.out[ack_id]

        async def nacked() -> list[str]:
            return self.subscription.modify([ack_id], 0)

        assert self.loop.run_until_complete(nacked()) == []
        self.came_back([delivery])

    @rule()
    def run_out(self) -> None:
        async def expired() -> None:
            self.now += 1000
            self.subscription.tick(self.now)

        self.loop.run_until_complete(expired())
        self.came_back(list(self.out.values()))

    def came_back(self, deliveries: list[Delivery]) -> None:
        """A key is to come again from there on, and its later ack ids are void."""
        for delivery in deliveries:
            self.out.pop(delivery.ack_id, None)
            key = delivery.message.ordering_key
            if not key:
                continue
            index = self.order[key].index(delivery.message.number)
            self.expected[key] = min(self.expected[key], index)
            for ack_id, other in list(self.out.items()):
                if other.message.ordering_key == key and other.message.number >= delivery.message.number:
                    del self.out[ack_id]
            self.unacked.update(self.order[key][index:])

    @precondition(lambda self: len(self.receivers) > 1)
    @rule()
    def leave(self) -> None:
        receiver = self.receivers.pop(0)

        async def left() -> None:
            self.subscription.detach(receiver)

        self.loop.run_until_complete(left())

    @invariant()
    def nobody_holds_more_than_the_limit(self) -> None:
        for receiver in self.receivers:
            held = [one for one in self.subscription.leases if one.receiver is receiver]
            assert len(held) <= LIMIT
            keys = {one.message.ordering_key for one in held if one.message.ordering_key}
            others = [one for one in self.subscription.leases if one.receiver is not receiver]
            assert not keys & {one.message.ordering_key for one in others}, "one key at two receivers"

    @invariant()
    def everything_unacked_is_leased_or_waits(self) -> None:
        if not hasattr(self, "subscription"):
            return
        leased = {one.message.number for one in self.subscription.leases}
        waiting = {one.message.number for one in self.subscription.backlog}
        assert self.unacked <= leased | waiting
        assert not leased & waiting


AnySubscription.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnySubscription = AnySubscription.TestCase
