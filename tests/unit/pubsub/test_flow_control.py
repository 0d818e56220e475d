"""What is kept ready behind busy slots, and when another stream is worth opening."""

from __future__ import annotations

import pytest

from daemon.pubsub.flow_control import FULL_BYTES, LONG_ENOUGH, MOST_STREAMS, Prefetch, Saturation


def test_what_waited_in_vain_ends_prefetching_until_as_many_jobs_end_within_the_window() -> None:
    prefetch = Prefetch(200, window=10.0)
    assert prefetch.size == 200
    prefetch.waited_in_vain()
    assert prefetch.size == 0
    prefetch.jobs_ended(199, now=100.0)
    assert prefetch.size == 0
    prefetch.jobs_ended(1, now=110.0)
    assert prefetch.size == 200


def test_jobs_that_ended_longer_ago_than_the_window_count_for_nothing() -> None:
    prefetch = Prefetch(10, window=10.0)
    prefetch.waited_in_vain()
    for hour in range(100):
        prefetch.jobs_ended(9, now=hour * 10.5)
    assert prefetch.size == 0
    prefetch.waited_in_vain()
    prefetch.jobs_ended(9, now=2_000.0)
    assert prefetch.size == 0, "what ended before counts for nothing either"


def test_who_prefetches_nothing_never_begins_to() -> None:
    prefetch = Prefetch(0)
    prefetch.waited_in_vain()
    prefetch.jobs_ended(1_000, now=1.0)
    assert prefetch.size == 0


@pytest.mark.parametrize("streams", [1, 2, MOST_STREAMS - 1])
def test_another_stream_is_wanted_when_those_there_are_full_for_long_enough(streams: int) -> None:
    saturation = Saturation()
    full = int(FULL_BYTES * streams * LONG_ENOUGH)
    assert not saturation.wants_another(0.0, 0, streams, hungry=True)
    assert not saturation.wants_another(LONG_ENOUGH / 2, full // 2, streams, hungry=True)
    assert saturation.wants_another(LONG_ENOUGH, full, streams, hungry=True)


def test_no_other_stream_is_wanted_for_less_or_by_who_could_not_take_more_or_beyond_the_most() -> None:
    full = int(FULL_BYTES * LONG_ENOUGH)
    for streams, received, hungry in ((1, full - 1, True), (1, full, False), (MOST_STREAMS, full * MOST_STREAMS, True)):
        saturation = Saturation()
        saturation.wants_another(0.0, 0, streams, hungry=True)
        assert not saturation.wants_another(LONG_ENOUGH, received, streams, hungry=hungry)


def test_one_look_at_which_the_worker_was_slow_begins_the_time_anew() -> None:
    saturation = Saturation()
    full = int(FULL_BYTES * LONG_ENOUGH)
    saturation.wants_another(0.0, 0, 1, hungry=True)
    saturation.wants_another(LONG_ENOUGH / 2, full, 1, hungry=False)
    assert not saturation.wants_another(LONG_ENOUGH, full * 2, 1, hungry=True)
