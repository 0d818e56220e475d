"""Hostile mode: no worse than at-least-once delivery allows, and the same again by its seed."""

import time
from collections import Counter

from daemon.local.pubsub.faults import Faults, Hostility
from tests.unit.local_pubsub.made import Made, a_message, batch_of, ids, messages

COUNT = 300


async def drained(subscription: Made, receivers: int = 2) -> list[list[int]]:
    """The numbers each receiver got, counted from the first message, until nothing came any more."""
    streams = [subscription.receiver(max_messages=20) for _ in range(receivers)]
    published = [a_message() for _ in range(COUNT)]
    subscription.publish(*published)
    got: list[list[int]] = [[] for _ in streams]
    now = time.monotonic()
    while len(subscription.backlog) or len(subscription.leases):
        now += 0.05
        subscription.tick(now)
        for numbers, stream in zip(got, streams, strict=True):
            batch = await batch_of(stream)
            numbers += [message.number - published[0].number for message in messages(batch)]
            subscription.acknowledge(ids(batch))
    return got


async def test_nothing_is_lost_and_some_of_it_comes_twice_out_of_order() -> None:
    got = await drained(Made(faults=Faults(hostility=Hostility(seed=1))), receivers=1)
    counted = Counter(got[0])
    assert counted.keys() == set(range(COUNT))
    assert max(counted.values()) > 1
    assert got[0] != sorted(got[0])


async def test_late_redeliveries_come_on_another_stream() -> None:
    hostility = Hostility(seed=2, duplicate=0, reorder=0, late=1.0, late_seconds=0.2)
    subscription = Made(faults=Faults(hostility=hostility))
    one, other = subscription.receiver(), subscription.receiver()
    subscription.publish(a_message())
    first = await batch_of(one)
    subscription.acknowledge(ids(first))
    asked = [one.ask(), other.ask()]
    subscription.tick(time.monotonic() + 0.3)
    (second,) = await asked[1] or []
    assert second.message is first[0].message
    assert not asked[0].done()


async def test_keys_stay_in_order_and_exactly_once_stays_exact() -> None:
    hostility = Hostility(duplicate=1.0, reorder=1.0, late=1.0)
    ordered = Made(faults=Faults(hostility=hostility), enable_message_ordering=True)
    published = [a_message(key="k") for _ in range(20)]
    ordered.publish(*published)
    assert messages(await batch_of(ordered.receiver())) == published
    exact = Made(faults=Faults(hostility=hostility), enable_exactly_once_delivery=True)
    exact.publish(a_message())
    assert len(await batch_of(exact.receiver())) == 1
    assert len(exact.backlog) == 0


def test_the_same_seed_brings_the_same_accidents() -> None:
    one, other = Hostility(seed=7), Hostility(seed=7)
    assert [one.happens(0.5) for _ in range(50)] == [other.happens(0.5) for _ in range(50)]
