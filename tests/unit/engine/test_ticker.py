"""The loop that everything periodic uses: no error ends it, a wake is never lost, a pause grows and shrinks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from daemon.engine.ticker import LONGEST_PAUSE, Ticker
from tests.fakes.observer import Listening
from tests.harness.waiting import until


class Steps:
    """A step that follows a script; `None` ends the script and waits forever."""

    def __init__(self, *script: Callable[[], bool | None]) -> None:
        self._script = list(script)
        self.taken = 0

    async def __call__(self) -> bool | None:
        self.taken += 1
        if not self._script:
            await asyncio.Event().wait()
        return self._script.pop(0)()


def _boom() -> bool:
    raise ValueError("boom")


async def _run(ticker: Ticker, steps: Steps, until_taken: int) -> None:
    task = asyncio.create_task(ticker.run())
    try:
        await until(lambda: steps.taken >= until_taken)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_thousand_and_more_failures_do_not_end_a_loop() -> None:
    pauses: list[float] = []

    async def at_once(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    heard, steps = Listening(), Steps(*[_boom] * 1_100)
    await _run(Ticker("relay", 1.0, steps, heard, at_once), steps, 1_101)
    assert len(heard.all("background_loop_failed")) == 1_100
    assert pauses == sorted(pauses)
    assert max(pauses) == LONGEST_PAUSE


async def test_a_step_that_says_there_is_more_runs_again_at_once() -> None:
    steps = Steps(lambda: True, lambda: True, lambda: True)
    await _run(Ticker("relay", 3600.0, steps, Listening()), steps, 4)


async def test_a_loop_ticks_by_itself() -> None:
    steps = Steps(lambda: None, lambda: False, lambda: None)
    await _run(Ticker("flush", 0.001, steps, Listening()), steps, 4)


async def test_a_wake_runs_the_step_without_waiting_for_its_time() -> None:
    steps = Steps(lambda: None, lambda: None)
    ticker = Ticker("relay", 3600.0, steps, Listening())
    task = asyncio.create_task(ticker.run())
    await until(lambda: steps.taken == 1)
    ticker.wake()
    await until(lambda: steps.taken == 2)
    task.cancel()
    await asyncio.wait({task})


async def test_a_wake_during_the_step_is_not_lost() -> None:
    ticker: Ticker

    def woken() -> None:
        ticker.wake()

    steps = Steps(woken, lambda: None)
    ticker = Ticker("relay", 3600.0, steps, Listening())
    await _run(ticker, steps, 2)


async def test_a_wake_does_not_hurry_a_loop_that_fails() -> None:
    ticker: Ticker

    def fails() -> bool:
        ticker.wake()
        raise ValueError("boom")

    heard, steps = Listening(), Steps(fails)
    ticker = Ticker("relay", 3600.0, steps, heard)
    task = asyncio.create_task(ticker.run())
    await until(lambda: heard.all("background_loop_failed"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert steps.taken == 1
    task.cancel()
    await asyncio.wait({task})


async def test_a_success_makes_the_pause_short_again() -> None:
    heard, steps = Listening(), Steps(_boom, _boom, lambda: None, _boom)
    await _run(Ticker("relay", 0.001, steps, heard), steps, 5)
    assert [arguments[2] for arguments in heard.all("background_loop_failed")] == [0.002, 0.004, 0.002]
