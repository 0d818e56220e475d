"""The connection to Cloud Run, made only for workers whose handlers need it: it comes with an extra.

Called by the runtime.
"""

from __future__ import annotations

from typing import Protocol

from daemon.engine.executors.cloud_run_job import Executions
from daemon.errors import HandlersInvalid


class CloudRun(Executions, Protocol):
    """Cloud Run, as long as the worker runs."""

    async def close(self) -> None: ...


def connect_cloud_run() -> CloudRun:
    """Connect with the account that the worker runs as. Raises HandlersInvalid without the extra or an account."""
    try:
        from daemon.cloudrun.executions import connect
    except ImportError as error:
        text = f"Handlers with executor='cloud_run_job' need the extra `cloudrun`: {error}."
        raise HandlersInvalid(text, "pip install 'headcount[cloudrun]'") from error
    return connect()
