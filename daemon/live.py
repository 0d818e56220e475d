"""What a stream of progress is made of: an orchestration's state at one moment, and the transitions up to it.

Frozen values, read by `postgres/live`, told by the API. A finish number is unique within a generation of an
orchestration, and numbers become visible in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from daemon.job import Kind, Status
from daemon.orchestration import Outcome, RunningInstance


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody knows an orchestration: every transition of `generation` up to `finish_number`."""

    id: UUID
    generation: int
    finish_number: int


@dataclass(frozen=True, slots=True)
class Transition:
    """An instance has finished; `kind` is why it is Errored."""

    finish_number: int
    index: int
    job_id: UUID
    status: Status
    kind: Kind | None


@dataclass(frozen=True, slots=True)
class LiveState:
    """An orchestration at one moment. `instances` are some of those that run, the longest running first.

    `transitions` are those with a finish number over `since` and up to `finishes`: all of them if `whole`, else only
    the failures.
    """

    id: UUID
    generation: int
    job_name: str
    total: int
    completed: int
    errored: int
    running: int
    finishes: int
    created_at: datetime
    deadline: datetime | None
    cancelled_at: datetime | None
    completed_at: datetime | None
    outcome: Outcome | None
    since: int
    whole: bool
    instances: tuple[RunningInstance, ...]
    transitions: tuple[Transition, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one look at the database found. `epoch` names this history of it: in another one no position counts."""

    epoch: str
    states: tuple[LiveState, ...]
