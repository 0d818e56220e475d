"""How handlers are called: one file per executor, all behind one small protocol.

The runner picks one by the handler's `executor`. Whatever a handler does becomes a Result, and cancelling it is the
executor's own business: it alone knows what runs (a coroutine, a thread) and how that is stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daemon.engine.attempt import Attempt
from daemon.job import Result
from daemon.registry import Handler


class Executor(Protocol):
    """Runs handlers of one kind."""

    async def call(self, handler: Handler, arguments: Sequence[object], attempt: Attempt) -> Result:
        """Call the handler under its timeout and say what it did.

        While it runs, `attempt.cancel` reaches it (`attempt.on_cancel`). It raises only what was thrown into the
        task from outside, when the loop is being closed.
        """
        ...
