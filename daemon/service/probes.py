"""What the health port answers about a worker.

Read by the health server from its own threads, also while the event loop is stuck. It must not wait for anything.
"""

from __future__ import annotations

import time

from daemon.engine.heartbeat import Heartbeat
from daemon.engine.loop_watchdog import LoopWatchdog
from daemon.engine.shutdown import Shutdown
from daemon.job import Claim
from daemon.observe import BlockedLoop
from daemon.service.loop_thread import LoopThread
from daemon.service.runtime import REGULAR_BEATS
from daemon.settings import Settings

PULL_GRACE_SECONDS = 10.0  # streams end in daily use too, and are back within a second or two


class Probes:
    """Lists of problems, empty when all is well."""

    def __init__(
        self, settings: Settings, shutdown: Shutdown, heartbeat: Heartbeat, watchdog: LoopWatchdog, loop: LoopThread
    ) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._heartbeat = heartbeat
        self._watchdog = watchdog
        self._loop = loop

    def live(self) -> list[str]:
        """Only what a restart fixes: Cloud Run kills without a drain on it."""
        lag = self._watchdog.lag(time.monotonic())
        if lag > self._settings.event_loop_timeout_seconds / 2:
            return [f"the event loop has not answered for {lag:.0f} s: {_culprit(self._loop.where())}"]
        return []

    def ready(self) -> list[str]:
        """Why this worker takes in nothing at the moment."""
        problems = [] if self.started() else ["the worker is starting"]
        if self._shutdown.stopping:
            problems.append("the worker is draining")
        runtime = self._loop.runtime
        silent = time.monotonic() - self._heartbeat.last
        if runtime is not None and runtime.store.unavailable:
            problems.append("the database does not answer")
        elif silent > self._settings.heartbeat_seconds * REGULAR_BEATS:  # an idle worker notices by nothing else
            problems.append(f"no heartbeat could be written for {silent:.0f} s")
        failing = runtime.streaming_pull.failing_for if runtime is not None else 0.0
        if failing > PULL_GRACE_SECONDS:
            problems.append(f"Pub/Sub has refused every pull for {failing:.0f} s")
        return problems

    def started(self) -> bool:
        """Whether the subscription has been opened."""
        return self._loop.runtime is not None and self._loop.runtime.opened


def _culprit(where: BlockedLoop) -> str:
    stack = " < ".join(where.stack) or "not known"
    if where.claim is not None:
        return f"{_named(where.claim)} holds it, at {stack}"
    if where.suspects:
        return f"one of {', '.join(map(_named, where.suspects))} holds it, at {stack}"
    return f"no job of its own holds it; it stands at {stack}"


def _named(claim: Claim) -> str:
    return f"the job {claim.job_name} {claim.job_id} (attempt {claim.attempt})"
