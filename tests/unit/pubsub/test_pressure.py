"""Another stream is opened when those there are carry all they can while the worker wants more, and only then."""

from __future__ import annotations

import pytest

from daemon.pubsub.pressure import FULL_BYTES, LONG_ENOUGH, MOST_STREAMS, Pressure

LOOK = 0.25


def looks(rate: float, streams: int, hungry: list[bool]) -> list[bool]:
    """What is said at each look, while so many bytes a second come in."""
    pressure = Pressure()
    return [
        pressure.wants_another(100.0 + n * LOOK, int(rate * n * LOOK), streams, hungry=one)
        for n, one in enumerate(hungry)
    ]


LONG = int(LONG_ENOUGH / LOOK) + 1


@pytest.mark.parametrize("streams", [1, 3])
def test_full_streams_of_a_hungry_worker_get_another_once(streams: int) -> None:
    said = looks(FULL_BYTES * streams * 1.1, streams, [True] * LONG)
    assert said == [False] * (LONG - 1) + [True]


def test_streams_that_carry_less_than_they_can_get_none() -> None:
    assert not any(looks(FULL_BYTES * 2 * 0.9, 2, [True] * LONG * 3))


def test_a_worker_that_has_enough_to_do_gets_none() -> None:
    assert not any(looks(FULL_BYTES * 5, 1, [False] * LONG * 3))
    now_and_then = ([True] * (LONG - 2) + [False]) * 5
    assert not any(looks(FULL_BYTES * 5, 1, now_and_then))


def test_there_is_an_end_to_it() -> None:
    assert not any(looks(FULL_BYTES * 100, MOST_STREAMS, [True] * LONG * 3))


def test_bytes_of_streams_that_are_gone_count_no_more() -> None:
    pressure = Pressure()
    pressure.wants_another(0.0, 10**9, 1, hungry=True)
    assert not pressure.wants_another(LONG_ENOUGH, 10**6, 1, hungry=True)
