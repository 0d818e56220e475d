"""The thread of the event loop, from its start until the work on it has ended.

Started by the worker's main thread. Handlers may block it or hold on to it, so nothing here waits for it without a
limit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

import uvloop

from daemon.engine.attempt import InFlight
from daemon.engine.blocked import examine
from daemon.engine.shutdown import Shutdown
from daemon.observe import BlockedLoop
from daemon.registry import Registry
from daemon.service.runtime import WorkerRuntime


class LoopThread:
    """Runs a runtime that is made on its loop; what that fails of begins the stop."""

    def __init__(
        self, make_runtime: Callable[[], WorkerRuntime], shutdown: Shutdown, in_flight: InFlight, registry: Registry
    ) -> None:
        self.runtime: WorkerRuntime | None = None
        self._make_runtime = make_runtime
        self._shutdown = shutdown
        self._in_flight = in_flight
        self._registry = registry
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headcount-loop", daemon=True)

    def start(self) -> None:
        """Start it. Its loop exists when this returns: earlier calls would be lost, and waited for forever."""
        self._thread.start()
        self._started.wait()

    def call(self, function: Callable[[], None]) -> None:
        """Run a function on the loop, soon. Any thread; nothing happens once the loop is closed."""
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    def where(self) -> BlockedLoop:
        """What the loop is doing at this moment. Any thread; waits for nothing."""
        return examine(self._loop, self._thread.ident, self._in_flight, self._registry)

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, for so long at most."""
        self._thread.join(seconds)

    def has_live_threads(self) -> bool:
        """Whether a handler holds this thread or one of its own: the interpreter would wait for that."""
        others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
        return self._thread.is_alive() or any(not thread.daemon for thread in others)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._work())
        except BaseException as error:
            self._shutdown.fail(error)
        finally:
            self._started.set()
            self._shutdown.done()

    async def _work(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
            self._started.set()
            self.runtime = self._make_runtime()
            await self.runtime.run()
        except BaseException as error:
            self._shutdown.fail(error)
        finally:  # handlers that nothing stops may hold the loop from here on
            self._shutdown.done()
