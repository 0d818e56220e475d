"""The limiter: a few lines of a kind at once, the rest counted, none forgotten."""

from daemon.telemetry.limiter import KINDS_LIMIT, OTHER_KINDS, Limiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_the_rest_is_counted() -> None:
    limiter = Limiter(burst=3, seconds=10, clock=Clock())
    assert [limiter.allows("a") for _ in range(5)] == [True, True, True, False, False]
    assert limiter.left_out(everything=True) == {"a": 2}


def test_kinds_do_not_share_a_limit() -> None:
    limiter = Limiter(burst=1, seconds=10, clock=Clock())
    assert limiter.allows("a")
    assert limiter.allows("b")
    assert not limiter.allows("a")


def test_a_new_window_lets_lines_through_again_and_keeps_the_count_of_the_old_one() -> None:
    clock = Clock()
    limiter = Limiter(burst=1, seconds=10, clock=clock)
    assert [limiter.allows("a") for _ in range(3)] == [True, False, False]
    clock.now += 10
    assert limiter.allows("a")
    clock.now += 10
    assert limiter.left_out() == {"a": 2}


def test_what_was_left_out_is_told_once_and_only_when_its_window_is_over() -> None:
    clock = Clock()
    limiter = Limiter(burst=1, seconds=10, clock=clock)
    limiter.allows("a")
    limiter.allows("a")
    assert limiter.left_out() == {}
    clock.now += 10
    assert limiter.left_out() == {"a": 1}
    assert limiter.left_out(everything=True) == {}


def test_a_flood_of_kinds_is_bounded() -> None:
    limiter = Limiter(burst=1, seconds=10, clock=Clock())
    passed = sum(limiter.allows(f"kind {number}") for number in range(KINDS_LIMIT * 2))
    assert passed == KINDS_LIMIT


def test_a_flood_of_kinds_is_remembered_as_one_kind_beyond_the_limit() -> None:
    limiter = Limiter(burst=1, seconds=10, clock=Clock())
    for number in range(KINDS_LIMIT * 100):
        limiter.allows(f"kind {number}")
    left = limiter.left_out(everything=True)
    assert left == {OTHER_KINDS: KINDS_LIMIT * 99}
