"""How long messages are leased: what waits comes back soon after a kill, what has begun rides out an outage."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from daemon.pubsub.leases import RENEWER, Leases

Measured = list[tuple[int, list[str]]]


def renewed(leases: Leases, ack_ids: Iterable[str]) -> Measured:
    """What the client's own thread of leases is told."""
    found: list[Measured] = []
    thread = threading.Thread(target=lambda: found.append(leases.measured(ack_ids, 20)), name=RENEWER)
    thread.start()
    thread.join()
    return found[0]


def test_the_first_lease_of_a_message_is_told_from_renewals_and_returns() -> None:
    leases = Leases(60, set)
    found: list[bool] = []
    renewer = threading.Thread(target=lambda: found.append(leases.is_receipt(20)), name=RENEWER)
    renewer.start()
    renewer.join()
    assert (leases.is_receipt(20), leases.is_receipt(0), found) == (True, False, [False])
    assert leases.waiting == 30


def test_a_renewal_gives_the_whole_lease_to_what_has_begun_and_little_to_what_waits() -> None:
    leases = Leases(60, lambda: {"b", "gone"})
    assert renewed(leases, iter(["a", "b", "c"])) == [(60, ["b"]), (30, ["a", "c"])]
    assert renewed(leases, ["b"]) == [(60, ["b"])]
    assert renewed(leases, []) == []


def test_giving_back_is_giving_back() -> None:
    assert Leases(60, set).measured(["a"], 0) == [(0, ["a"])]


@pytest.mark.parametrize("lease", [10, 25, 60, 600])
def test_no_lease_is_longer_than_wanted_and_renewals_come_well_before_its_end(lease: int) -> None:
    leases = Leases(lease, lambda: {"begun"})
    [(running, _), (waiting, _)] = renewed(leases, ["begun", "waits"])
    assert running == lease
    assert waiting <= 30
    assert leases.renewal <= waiting <= running
    assert leases.renewal * 0.9 < waiting
