"""A thread with an event loop of its own, on which nothing of a handler ever runs.

Started by `streaming_pull`. Streams, acks and leases live here, so that a handler that blocks the main event loop holds
up none of them. It knows nothing of Pub/Sub.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import ParamSpec, TypeVar

import uvloop

P = ParamSpec("P")
T = TypeVar("T")


class IoThread:
    """One daemon thread and its event loop, from `start` to `end`."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def start(self) -> None:
        """Start it; its loop runs when this returns."""
        self._thread.start()
        self._ready.wait()

    def soon(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function on its loop. Any thread and signal handlers; nothing happens once the loop has ended."""
        assert not kwargs, "a loop passes positional arguments on only"
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function, *args)
            except RuntimeError:  # closed
                return

    async def call(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run a coroutine on its loop, and wait for what it returns on the caller's."""
        assert self._loop is not None, "the thread has not been started"
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def end(self) -> None:
        """Cancel what is left on its loop, and end the thread. On its loop only."""
        assert self._over is not None, "the thread has not been started"
        self._over.set()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._until_the_end())

    async def _until_the_end(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._over.wait()
