"""The one loop that everything periodic uses: relay, rescue, sweep, flush of progress.

A step that fails is reported and tried again with a growing pause; it never ends the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from daemon.observe import Observer

Step = Callable[[], Awaitable[bool] | Awaitable[None]]

LONGEST_PAUSE = 5.0
DOUBLINGS = 16


class Ticker:
    """Runs `step` every `interval` seconds, and at once when woken. A step that returns True is run again at once."""

    def __init__(
        self,
        name: str,
        interval: float,
        step: Step,
        observer: Observer,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._interval = interval
        self._step = step
        self._observer = observer
        self._sleep = sleep
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Run the step soon. On the event loop only."""
        self._wake.set()

    async def run(self) -> None:
        """Tick until it is cancelled."""
        failures = 0
        while True:
            try:
                again = await self._step()
                failures = 0
                pause = 0.0 if again else self._interval
            except Exception as error:
                failures += 1
                pause = min(self._interval * 2 ** min(failures, DOUBLINGS), max(LONGEST_PAUSE, self._interval))
                self._observer.background_loop_failed(self._name, error, pause)
            if failures:  # a wake does not hurry what fails
                await self._sleep(pause)
            else:
                await self._wait(pause)

    async def _wait(self, pause: float) -> None:
        if pause <= 0 or self._wake.is_set():
            await asyncio.sleep(0)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
        self._wake.clear()
