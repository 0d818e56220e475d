"""Waiting on conditions: it returns what was answered, and says what was answered last."""

import pytest

from tests.harness.waiting import eventually, until


def test_the_first_true_answer_is_returned() -> None:
    answers = iter([None, 0, "", "yes", "no"])
    assert eventually(lambda: next(answers)) == "yes"


async def test_a_condition_may_be_a_coroutine() -> None:
    answers = iter([False, True])

    async def condition() -> bool:
        return next(answers)

    assert await until(condition)


def test_an_assertion_that_fails_means_not_yet() -> None:
    numbers = iter(range(5))

    def condition() -> bool:
        assert next(numbers) == 2
        return True

    assert eventually(condition)
    assert next(numbers) == 3


async def test_a_wait_that_takes_too_long_says_what_for_and_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.05 s: all are in; the last answer was 0"):
        eventually(lambda: 0, within=0.05, what="all are in")

    async def never() -> bool:
        raise AssertionError("seen only 3")

    with pytest.raises(AssertionError, match="the last answer was AssertionError"):
        await until(never, within=0.05)


def test_a_wait_that_takes_too_long_shows_what_its_condition_looks_at() -> None:
    seen = ["one", "two"]
    with pytest.raises(AssertionError, match=r"seen = \['one', 'two'\]"):
        eventually(lambda: len(seen) == 3, within=0.05)


def test_another_error_is_not_waited_out() -> None:
    asked = []

    def broken() -> bool:
        asked.append(1)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        eventually(broken)
    assert len(asked) == 1
