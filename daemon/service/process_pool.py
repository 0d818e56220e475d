"""The child processes of a worker as its settings want them, and how they are started.

Called by the runtime; the children's own code is `process_child`.
"""

from __future__ import annotations

from functools import partial

from daemon.engine.executors.process.child_process import ChildProcess
from daemon.engine.executors.process.pool import ProcessPool, Recycling
from daemon.machine import cpus
from daemon.observe import Observer
from daemon.registry import Registry
from daemon.service.process_child import child_command, start_message
from daemon.settings import Settings

MIB = 1024 * 1024


def process_pool(settings: Settings, registry: Registry, observer: Observer) -> ProcessPool:
    """A pool that is not started yet; it has no children when no handler needs one."""
    start = start_message(settings.packages, settings.handlers_path, settings.log_level, settings.result_limit_bytes)
    is_needed = any(handler.executor == "process" for handler in registry)
    slots = (settings.process_slots or cpus()) if is_needed else 0
    recycling = Recycling(settings.process_max_jobs or None, settings.process_max_memory_mib * MIB or None)
    return ProcessPool(slots, partial(ChildProcess, child_command(), start, observer), recycling, observer)
