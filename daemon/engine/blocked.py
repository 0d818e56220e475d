"""Who holds the event loop: the job and the stack of the loop's thread, read from another thread.

Called by the watchdog when the loop does not answer, and by the health port. It waits for nothing and reads no values,
only where the code stands.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback

from daemon.engine.attempt import InFlight
from daemon.job import Claim
from daemon.observe import BlockedLoop
from daemon.registry import Registry

DEEPEST = 20
NAMED = 10


def examine(
    loop: asyncio.AbstractEventLoop | None, thread: int | None, in_flight: InFlight, registry: Registry
) -> BlockedLoop:
    """What the loop of that thread is doing at this moment. Any thread."""
    task = None if loop is None else asyncio.current_task(loop)
    frame = None if thread is None else sys._current_frames().get(thread)
    codes = [] if frame is None else [(inner.f_code, line) for inner, line in traceback.walk_stack(frame)]
    stack = tuple(f"{code.co_filename}:{line} in {code.co_name}" for code, line in codes[:DEEPEST])
    claimed = [(attempt.task, attempt.claim) for attempt in in_flight.all()]
    own = [claim for attempt_task, claim in claimed if task is not None and attempt_task is task and claim is not None]
    if own:
        return BlockedLoop(own[0], (), stack)
    # A task that the handler made itself: the files on the stack tell whose it is.
    files = {code.co_filename for code, _ in codes}
    suspects = [claim for _, claim in claimed if claim is not None and _is_in(claim, registry, files)]
    if len(suspects) == 1:
        return BlockedLoop(suspects[0], (), stack)
    return BlockedLoop(None, tuple(suspects[:NAMED]), stack)


def _is_in(claim: Claim, registry: Registry, files: set[str]) -> bool:
    handler = registry.find(claim.job_name)
    code = None if handler is None else getattr(inspect.unwrap(handler.function), "__code__", None)
    return handler is not None and handler.executor == "async" and code is not None and code.co_filename in files
