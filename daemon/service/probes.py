"""What the health port answers about a worker.

Read by the health server from its own threads, also while the event loop is stuck. It must not wait for anything.
"""

from __future__ import annotations

import time
from typing import Protocol

from daemon.engine.lifeline import Lifeline
from daemon.job import Claim
from daemon.observe import BlockedLoop
from daemon.service.runtime import REGULAR_BEATS, WorkerRuntime
from daemon.settings import Settings

PULL_PATIENCE = 10.0  # streams end in daily use too, and are back within a second or two


class Probed(Protocol):
    """The parts of a worker that its health is read from."""

    settings: Settings
    lifeline: Lifeline
    workroom: WorkerRuntime | None

    def where(self) -> BlockedLoop:
        """What the event loop is doing at this moment."""
        ...


class Probes:
    """What the health port answers."""

    def __init__(self, worker: Probed) -> None:
        self._worker = worker

    def live(self) -> list[str]:
        """Only what a restart fixes: Cloud Run kills without a drain on it."""
        lag = self._worker.lifeline.loop_lag
        if lag > self._worker.settings.event_loop_timeout_seconds / 2:
            return [f"the event loop has not answered for {lag:.0f} s: {_culprit(self._worker.where())}"]
        return []

    def ready(self) -> list[str]:
        """Why this worker takes in nothing at the moment."""
        problems = [] if self.started() else ["the worker is starting"]
        if self._worker.lifeline.draining:
            problems.append("the worker is draining")
        room = self._worker.workroom
        silent = time.monotonic() - self._worker.lifeline.last_beat
        if room is not None and room.store.unavailable:
            problems.append("the database does not answer")
        elif silent > self._worker.settings.heartbeat_seconds * REGULAR_BEATS:  # an idle worker notices by nothing else
            problems.append(f"no heartbeat could be written for {silent:.0f} s")
        failing = room.streaming_pull.failing_for if room is not None else 0.0
        if failing > PULL_PATIENCE:
            problems.append(f"Pub/Sub has refused every pull for {failing:.0f} s")
        return problems

    def started(self) -> bool:
        """Whether the subscription has been opened."""
        return self._worker.workroom is not None and self._worker.workroom.opened


def _culprit(where: BlockedLoop) -> str:
    stack = " < ".join(where.stack) or "not known"
    if where.claim is not None:
        return f"{_named(where.claim)} holds it, at {stack}"
    if where.suspects:
        return f"one of {', '.join(map(_named, where.suspects))} holds it, at {stack}"
    return f"no job of its own holds it; it stands at {stack}"


def _named(claim: Claim) -> str:
    return f"the job {claim.job_name} {claim.job_id} (attempt {claim.attempt})"
