"""What an ack, a nack, a lost lease and a seek do to a message, one at a time."""

import asyncio
import time

import pytest

from daemon.local.pubsub.faults import Faults
from daemon.local.pubsub.responses import MAX_RESPONSE_BYTES
from daemon.local.pubsub.rpc_error import RpcError, not_found
from tests.unit.local_pubsub.made import Made, a_message, batch_of, ids, messages

DEAD_LETTERS = {"dead_letter_topic": "projects/p/topics/dead", "max_delivery_attempts": 5}


async def test_an_acked_message_is_gone() -> None:
    subscription = Made()
    receiver = subscription.receiver()
    subscription.publish(a_message())
    assert subscription.acknowledge(ids(await batch_of(receiver))) == []
    subscription.expire()
    assert await batch_of(receiver) == []
    assert (len(subscription.leases), len(subscription.backlog)) == (0, 0)


async def test_a_nacked_message_comes_at_once_under_a_new_ack_id() -> None:
    subscription = Made()
    receiver = subscription.receiver()
    subscription.publish(a_message())
    first = ids(await batch_of(receiver))
    subscription.modify(first, 0)
    second = ids(await batch_of(receiver))
    assert len(second) == 1
    assert second != first


async def test_a_lease_that_ran_out_is_redelivered_and_its_old_ack_id_means_nothing() -> None:
    subscription = Made()
    receiver = subscription.receiver()
    subscription.publish(a_message())
    (first,) = ids(await batch_of(receiver))
    subscription.expire()
    assert len(await batch_of(receiver)) == 1
    assert subscription.acknowledge([first]) == [first]
    assert len(subscription.leases) == 1


async def test_an_extended_lease_outlasts_its_first_deadline() -> None:
    subscription = Made()
    receiver = subscription.receiver()
    subscription.publish(a_message())
    now = time.monotonic()
    subscription.modify(ids(await batch_of(receiver)), 60)
    subscription.tick(now + 20)
    assert len(subscription.leases) == 1
    subscription.tick(now + 61)
    assert len(subscription.leases) == 0


async def test_a_shortened_lease_ends_sooner() -> None:
    subscription = Made()
    receiver = subscription.receiver()
    subscription.publish(a_message())
    now = time.monotonic()
    subscription.modify(ids(await batch_of(receiver)), 1)
    subscription.tick(now + 2)
    assert len(subscription.leases) == 0


async def test_a_receiver_never_holds_more_than_its_limit() -> None:
    subscription = Made()
    receiver = subscription.receiver(max_messages=3)
    subscription.publish(*[a_message() for _ in range(10)])
    first = await batch_of(receiver)
    assert len(first) == 3
    assert await batch_of(receiver) == []
    subscription.acknowledge(ids(first)[:1])
    assert len(await batch_of(receiver)) == 1
    subscription.expire()
    assert len(await batch_of(receiver)) == 3


async def test_a_limit_of_bytes_holds_but_lets_a_larger_message_pass_alone() -> None:
    subscription = Made()
    receiver = subscription.receiver(max_bytes=1000)
    subscription.publish(a_message(bytes(400)), a_message(bytes(400)), a_message(bytes(400)), a_message(bytes(5000)))
    first = await batch_of(receiver)
    assert len(first) == 2
    subscription.acknowledge(ids(first))
    second = await batch_of(receiver)
    assert len(second) == 1
    assert await batch_of(receiver) == []
    subscription.acknowledge(ids(second))
    assert [message.size > 5000 for message in messages(await batch_of(receiver))] == [True]


async def test_a_response_stays_under_its_limit() -> None:
    subscription = Made()
    receiver = subscription.receiver()
    subscription.publish(*[a_message(bytes(1_000_000)) for _ in range(5)])
    batch = await batch_of(receiver)
    assert 1 <= sum(message.size for message in messages(batch)) <= MAX_RESPONSE_BYTES


async def test_two_receivers_get_even_shares_of_little_and_of_much() -> None:
    subscription = Made()
    receivers = [subscription.receiver(), subscription.receiver()]
    asked = [receiver.ask() for receiver in receivers]
    subscription.publish(*[a_message() for _ in range(10)])
    shares = [len(await one or []) for one in asked]
    assert shares == [5, 5]


async def test_single_messages_go_to_waiting_receivers_by_turns() -> None:
    subscription = Made()
    receivers = [subscription.receiver(), subscription.receiver()]
    asked = [receiver.ask() for receiver in receivers]
    got = [0, 0]
    for _ in range(6):
        subscription.publish(a_message())
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        for index, receiver in enumerate(receivers):
            if asked[index].done():
                got[index] += len(asked[index].result() or [])
                asked[index] = receiver.ask()
    assert got == [3, 3]


async def test_what_a_lost_receiver_holds_waits_for_its_deadline_and_then_goes_to_another() -> None:
    subscription = Made()
    lost, other = subscription.receiver(), subscription.receiver()
    subscription.publish(a_message())
    assert len(await batch_of(lost)) == 1
    subscription.detach(lost)
    assert await batch_of(other) == []
    subscription.expire()
    assert len(await batch_of(other)) == 1


async def test_a_message_that_fails_too_often_is_moved_with_its_attempts_counted() -> None:
    subscription = Made(dead_letter_policy=DEAD_LETTERS)
    receiver = subscription.receiver()
    message = a_message()
    subscription.publish(message)
    attempts = []
    for number in range(5):
        (delivery,) = await batch_of(receiver)
        attempts.append(delivery.attempt)
        if number % 2:
            subscription.modify([delivery.ack_id], 0)
        else:
            subscription.expire()
    assert attempts == [1, 2, 3, 4, 5]
    assert await batch_of(receiver) == []
    assert subscription.dead == [message]


async def test_without_its_dead_letter_topic_a_message_is_delivered_on() -> None:
    subscription = Made(dead_letter_policy=DEAD_LETTERS)
    subscription.dead_letter_topic_is_there = False
    receiver = subscription.receiver()
    subscription.publish(a_message())
    for _ in range(8):
        subscription.modify(ids(await batch_of(receiver)), 0)
    (delivery,) = await batch_of(receiver)
    assert delivery.attempt == 9


async def test_backoff_keeps_back_the_message_and_nothing_else() -> None:
    subscription = Made(retry_policy={"minimum_backoff": {"seconds": 5}, "maximum_backoff": {"seconds": 8}})
    receiver = subscription.receiver()
    bad, good = a_message(b"bad"), a_message(b"good")
    subscription.publish(bad)
    nacked = time.monotonic()
    subscription.modify(ids(await batch_of(receiver)), 0)
    subscription.publish(good)
    assert messages(await batch_of(receiver)) == [good]
    subscription.tick(nacked + 4.9)
    assert await batch_of(receiver) == []
    subscription.tick(time.monotonic() + 5.1)
    assert messages(await batch_of(receiver)) == [bad]


async def test_a_key_waits_for_its_backoff_in_order() -> None:
    retry = {"minimum_backoff": {"seconds": 5}, "maximum_backoff": {"seconds": 8}}
    subscription = Made(enable_message_ordering=True, retry_policy=retry)
    receiver = subscription.receiver()
    published = [a_message(key="k") for _ in range(3)]
    subscription.publish(*published)
    first, second, _ = ids(await batch_of(receiver))
    subscription.acknowledge([second])
    subscription.modify([first], 0)
    assert await batch_of(receiver) == []
    subscription.tick(time.monotonic() + 5.1)
    assert messages(await batch_of(receiver)) == published


async def test_what_a_key_replays_has_to_be_acked_again() -> None:
    subscription = Made(enable_message_ordering=True)
    receiver = subscription.receiver(max_messages=2)
    first, second = a_message(key="k"), a_message(key="k")
    subscription.publish(first, second)
    nacked, acked = ids(await batch_of(receiver))
    subscription.acknowledge([acked])
    other = subscription.receiver(max_messages=1)
    subscription.modify([nacked], 0)
    again = await batch_of(other)
    assert messages(again) == [first]
    subscription.acknowledge(ids(again))
    assert messages(await batch_of(other)) == [second]


async def test_a_key_moves_to_another_receiver_when_nothing_of_it_is_out() -> None:
    subscription = Made(enable_message_ordering=True)
    one, other = subscription.receiver(max_messages=1), subscription.receiver()
    subscription.publish(a_message(key="k"), a_message(key="k"))
    first = await batch_of(one)
    assert await batch_of(other) == []
    subscription.acknowledge(ids(first))
    assert len(await batch_of(other)) == 1


async def test_seek_into_the_future_purges_and_into_the_past_replays_what_was_kept() -> None:
    subscription = Made(retain_acked_messages=True)
    receiver = subscription.receiver()
    now = time.time()
    old, new = a_message(b"old", at=now - 100), a_message(b"new", at=now - 10)
    subscription.publish(old, new)
    subscription.acknowledge(ids(await batch_of(receiver)))
    subscription.seek(now - 50)
    assert messages(await batch_of(receiver)) == [new]
    subscription.seek(now + 1)
    assert len(subscription.leases) == 0
    assert await batch_of(receiver) == []
    subscription.seek(now - 200)
    assert messages(await batch_of(receiver)) == [old, new]


async def test_seek_leaves_alone_what_is_being_worked_on() -> None:
    subscription = Made(retain_acked_messages=True)
    receiver = subscription.receiver()
    subscription.publish(a_message())
    (held,) = ids(await batch_of(receiver))
    subscription.seek(time.time() - 100)
    assert await batch_of(receiver) == []
    assert subscription.acknowledge([held]) == []


async def test_a_paused_subscription_hands_out_nothing_and_then_everything() -> None:
    subscription = Made(faults=Faults(paused={""}))
    receiver = subscription.receiver()
    subscription.publish(a_message())
    assert await batch_of(receiver) == []
    subscription.faults.paused.clear()
    assert len(await batch_of(receiver)) == 1


async def test_lost_acks_are_answered_well_and_forgotten() -> None:
    subscription = Made(faults=Faults(acks_to_lose=1))
    receiver = subscription.receiver()
    subscription.publish(a_message(), a_message())
    assert subscription.acknowledge(ids(await batch_of(receiver))) == []
    assert len(subscription.leases) == 1
    subscription.expire()
    assert len(await batch_of(receiver)) == 1


@pytest.mark.parametrize("ended", [True, False])
async def test_whoever_waits_learns_that_the_stream_is_over(ended: bool) -> None:
    subscription = Made()
    receiver = subscription.receiver()
    waiting = receiver.ask()
    if ended:
        subscription.end(not_found("projects/p/subscriptions/sub"))
        with pytest.raises(RpcError):
            await waiting
    else:
        receiver.finish()
        assert await waiting is None
