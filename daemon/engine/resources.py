"""What the lifespans of the handlers package yield: made before the first job, closed after the last one.

Used by the worker's runtime and by each child process, in one task from beginning to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from daemon.errors import HandlersInvalid
from daemon.lifespan import Lifespan
from daemon.registry import Handler
from daemon.rules.storable import safe_str

CLOSE_SECONDS = 1.0


class Resources:
    """The values that the given handlers need, by type."""

    def __init__(self, handlers: Iterable[Handler], lifespans: Mapping[object, Lifespan]) -> None:
        needed = {kind for handler in handlers for kind in handler.resources}
        self._lifespans = [lifespan for kind, lifespan in lifespans.items() if kind in needed]
        self._values: dict[object, object] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Make them, in the order of their definition, and close them in reverse.

        Raises HandlersInvalid when one can't be made. Closing takes CLOSE_SECONDS at most; what it raises is raised.
        """
        async with AsyncExitStack() as stack:
            for lifespan in self._lifespans:
                try:
                    value = await stack.enter_async_context(asynccontextmanager(lifespan.function)())
                except Exception as error:
                    raise HandlersInvalid(f"{lifespan.location}: {type(error).__name__}: {safe_str(error)}.") from error
                self._values[lifespan.provides] = value
            yield
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await stack.aclose()

    def of(self, handler: Handler) -> tuple[object, ...]:
        """The values for the parameters of a handler, in their order."""
        return tuple(self._values[kind] for kind in handler.resources)
