"""The one owner of a worker's stop: its state, its clock, and the end of the process.

Signal handlers and failures begin it; the main thread, the event loop and the intake only read it. The schedule is
`rules.shutdown`. It knows nothing of what is being stopped.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from queue import Empty, SimpleQueue

from daemon.errors import StartupError
from daemon.rules.shutdown import ShutdownPlan

EXIT_FAILED, EXIT_REFUSED = 1, 2
STANDARD_ERROR = 2


class State(IntEnum):
    """RUNNING, STOPPING, FORCED when a second signal cuts that short, and DONE: the event loop's work has ended."""

    RUNNING = 0
    STOPPING = 1
    FORCED = 2
    DONE = 3


class Shutdown:
    """Goes through the states in order, never back. `error` is what the worker failed of, if it did."""

    def __init__(
        self,
        plan: ShutdownPlan,
        clock: Callable[[], float] = time.monotonic,
        end_process: Callable[[int], object] = os._exit,
    ) -> None:
        self.plan = plan
        self.state = State.RUNNING
        self.error: BaseException | None = None
        self.exit = end_process
        self._clock = clock
        self._began: float | None = None
        self._listeners: list[Callable[[], None]] = []
        # Signal handlers put into them: unlike an Event's lock, a SimpleQueue may be entered again by the same thread.
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._begins: SimpleQueue[None] = SimpleQueue()
        self._guarded = False

    @property
    def stopping(self) -> bool:
        """Whether a stop has begun."""
        return self._began is not None

    @property
    def exit_code(self) -> int:
        """What the process ends with when it can't end by itself."""
        return 0 if self.error is None else EXIT_REFUSED if isinstance(self.error, StartupError) else EXIT_FAILED

    def guard(self) -> None:
        """From here on a stop ends the process by `exit_at`, whatever hangs: some joins have no timeout."""
        self._guarded = True
        threading.Thread(target=self._end_in_time, name="headcount-watchdog", daemon=True).start()

    def stop(self, *_signal: object) -> None:
        """Begin the stop; a second call cuts it short. Serves as a signal handler."""
        if self._began is not None:
            self.state = max(self.state, State.FORCED)
        else:
            self._began, self.state = self._clock(), State.STOPPING
            if self._guarded:  # a timer in C needs no interpreter, which a handler may hold; it says where that is
                faulthandler.dump_traceback_later(self.plan.kill_at, exit=True, file=STANDARD_ERROR)
            self._begins.put(None)
        for listener in self._listeners:
            listener()
        self.wake()

    def fail(self, error: BaseException) -> None:
        """Begin the stop, if none has begun: the worker can't go on. Any thread."""
        self.error = self.error or error
        if not self.stopping:
            self.stop()

    def done(self) -> None:
        """The event loop's work has ended. Any thread."""
        self.state = State.DONE
        self.wake()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call it when a stop begins or is cut short: from any thread and from signal handlers, so it may not block."""
        self._listeners.append(listener)
        if self.stopping:
            listener()

    def events(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Events of the running loop that are set once a stop has begun, and once it is cut short."""
        loop, stopping, forced = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def mirror() -> None:
            stopping.set()
            if self.state >= State.FORCED:
                forced.set()

        def changed() -> None:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(mirror)

        self.subscribe(changed)
        return stopping, forced

    def left(self, seconds: float) -> float:
        """How much is left of so many seconds since the stop began; 0 when there is none."""
        return 0.0 if self._began is None else max(0.0, self._began + seconds - self._clock())

    def exit_in(self) -> float:
        """Within how many seconds the process has ended; 0 when no stop has begun."""
        return self.left(self.plan.kill_at)

    def is_due(self, seconds: float) -> bool:
        """Whether the work is done, or a stop began so many seconds ago."""
        return self.state is State.DONE or (self.stopping and not self.left(seconds))

    def wait(self, seconds: float, until: float) -> None:
        """Sleep until the state changes, for `seconds`, or until `until` seconds since the stop. Main thread only."""
        with suppress(Empty):
            self._wakes.get(timeout=max(0.0, min(seconds, self.left(until)) if self.stopping else seconds))

    def wake(self) -> None:
        """End a `wait`. Any thread."""
        self._wakes.put(None)

    def _end_in_time(self) -> None:
        self._begins.get()
        time.sleep(self.left(self.plan.exit_at))
        self.exit(self.exit_code)
