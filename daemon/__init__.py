"""The door of Headcount: the only module that handlers and producers import.

Light on purpose: importing it loads neither grpc nor sqlalchemy; the clients are loaded when they are first asked for.
Nothing inside the package imports the door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.cloud_run_job import CloudRunJob
from daemon.command import Command
from daemon.context import JobContext
from daemon.errors import ClaimLost, GiveUp, HeadcountError, RetryLater, Stopped
from daemon.lifespan import lifespan
from daemon.registry import job
from daemon.rules.limits import Limit, Rate
from daemon.rules.retry import Backoff

if TYPE_CHECKING:
    from daemon.client import Client, Orchestration
    from daemon.sync_client import SyncClient, SyncOrchestration

__all__ = [
    "Backoff",
    "ClaimLost",
    "Client",
    "CloudRunJob",
    "Command",
    "GiveUp",
    "HeadcountError",
    "JobContext",
    "Limit",
    "Orchestration",
    "Rate",
    "RetryLater",
    "Stopped",
    "SyncClient",
    "SyncOrchestration",
    "job",
    "lifespan",
]

_LAZY = {
    "Client": "daemon.client",
    "Orchestration": "daemon.client",
    "SyncClient": "daemon.sync_client",
    "SyncOrchestration": "daemon.sync_client",
}


def __getattr__(name: str) -> object:
    """Load what is heavy on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'daemon' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
