"""Receipts leave aside, once, and only for messages that are not done with soon."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from daemon.pubsub.receipts import AT_ONCE, Receipts
from tests.harness.waiting import eventually


class Sent:
    """What was sent, in the order of the calls; each waits for `open`."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, ack_ids: list[str]) -> None:
        self.open.wait()
        self.calls.append(ack_ids)

    @property
    def ids(self) -> list[str]:
        return sorted(ack_id for call in self.calls for ack_id in call)


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def receipts(sent: Sent) -> Iterator[Receipts]:
    receipts = Receipts(sent)
    receipts.start()
    yield receipts
    receipts.end()
    eventually(lambda: not receipts.is_alive())


def test_what_stays_has_one_receipt_and_what_is_replied_to_at_once_has_none(receipts: Receipts, sent: Sent) -> None:
    receipts.put(["stays", "acked"])
    receipts.replied("acked")
    eventually(lambda: sent.ids == ["stays"])
    receipts.put(["comes later"])
    eventually(lambda: sent.ids == ["comes later", "stays"])


def test_many_receipts_leave_in_calls_that_a_request_can_hold(receipts: Receipts, sent: Sent) -> None:
    ids = sorted(f"{number:05}" for number in range(AT_ONCE * 2 + 1))
    receipts.put(ids)
    eventually(lambda: sent.ids == ids)
    assert [len(call) for call in sent.calls] == [AT_ONCE, AT_ONCE, 1]


def test_a_call_that_hangs_delays_receipts_and_nobody_else(receipts: Receipts, sent: Sent) -> None:
    sent.open.clear()
    for number in range(50):
        receipts.put([str(number)])
        receipts.replied(str(number))
    receipts.put(["kept"])
    sent.open.set()
    eventually(lambda: sent.ids == ["kept"])


def test_it_ends_although_receipts_are_due(sent: Sent) -> None:
    receipts = Receipts(sent)
    receipts.start()
    receipts.put(["due"])
    receipts.end()
    eventually(lambda: not receipts.is_alive())
