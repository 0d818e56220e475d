"""What each report of the worker does to the metrics: one Observer per topic, over the declarations in `families.py`.

Put together by `metrics.py`. Called for every job from the event loop, and from other threads: a few microseconds per
job in all, no waiting, no raising.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from uuid import UUID

from daemon.job import Cause, Claim, JobMessage, Kind, Refusal, Settled, Settlement
from daemon.observe import BlockedLoop, Observer
from daemon.telemetry.families import (
    NACK_REASONS,
    OTHER,
    OUTCOMES,
    PUBLISHED,
    REJECTIONS,
    REPAIRS,
    CareFamilies,
    Children,
    JobFamilies,
    MessageFamilies,
    WorkerFamilies,
)
from daemon.telemetry.traceparent import trace_id

STALE = "Stale"
BORN_KINDS = (Kind.RAISED, Kind.TIMED_OUT, Kind.INTERRUPTED)


class JobSeries:
    """The series of one job name, looked up once."""

    __slots__ = (
        "_new_failure",
        "blocked",
        "duration",
        "failures",
        "outcomes",
        "queue_delay",
        "stale",
        "started",
        "stuck",
    )

    def __init__(self, families: JobFamilies, name: str, born: Iterable[Kind]) -> None:
        self.started = families.started.labels(name)
        self.queue_delay = families.queue_delay.labels(name)
        self.duration = families.duration.labels(name)
        self.outcomes = {action: families.finished.labels(name, word) for action, word in OUTCOMES.items()}
        self.stale = families.finished.labels(name, STALE)
        self.failures = {kind: families.failures.labels(name, kind.value) for kind in born}
        self._new_failure = partial(families.failures.labels, name)
        self.stuck = families.stuck.labels(name)
        self.blocked = families.blocked.labels(name)

    def failed(self, kind: Kind) -> None:
        """Count an error; a kind that most handlers never meet gets its series when it is met."""
        child = self.failures.get(kind)
        if child is None:
            child = self.failures[kind] = self._new_failure(kind.value)
        child.inc()


class JobRecorder(Observer):
    """Counts attempts by job name; names without a handler here share one series."""

    def __init__(self, families: JobFamilies, names: Iterable[str]) -> None:
        self._series = {name: JobSeries(families, name, BORN_KINDS) for name in names}
        self._other = JobSeries(families, OTHER, Kind)
        self._redelivered = {cause: families.redelivered.labels(cause.value) for cause in Cause}
        self._refused = {why: families.refused.labels(why.value) for why in Refusal}
        self._lost = families.lost

    def started(self, claim: Claim, queued: float) -> None:
        """Count an attempt, its wait, and why its message came again."""
        series = self._series.get(claim.job_name, self._other)
        series.started.inc()
        if queued > 0:
            series.queue_delay.observe(queued)
        if claim.cause is not None:
            self._redelivered[claim.cause].inc()

    def refused(self, message: JobMessage, why: Refusal, cause: Cause | None) -> None:
        """Count a message without work, and why it came."""
        self._refused[why].inc()
        if cause is not None:
            self._redelivered[cause].inc()

    def finished(self, claim: Claim, settlement: Settlement, seconds: float) -> None:
        """Measure an attempt; its trace, if it has one, stands beside the duration."""
        duration = self._series.get(claim.job_name, self._other).duration
        trace = trace_id(claim.traceparent)
        duration.observe(seconds, None if trace is None else {"trace_id": trace})

    def settled(self, claim: Claim, settlement: Settlement, answer: Settled) -> None:
        """Count an outcome and its error, now that it is stored."""
        series = self._series.get(claim.job_name, self._other)
        if answer is Settled.STALE:
            series.stale.inc()
            return
        series.outcomes[settlement.action].inc()
        if settlement.error is not None:
            series.failed(settlement.error.kind)

    def handler_stuck(self, claim: Claim, seconds: float) -> None:
        """Count a handler that does not stop."""
        self._series.get(claim.job_name, self._other).stuck.inc()

    def event_loop_blocked(self, seconds: float, where: BlockedLoop) -> None:
        """Count a job that blocks the event loop."""
        series = self._other if where.claim is None else self._series.get(where.claim.job_name, self._other)
        series.blocked.inc()

    def claim_lost(self, job_id: UUID, attempt: int) -> None:
        """Count an attempt that ran on without its claim."""
        self._lost.inc()


class MessageRecorder(Observer):
    """Counts messages, in and out."""

    def __init__(self, families: MessageFamilies) -> None:
        self._received = tuple(families.received.labels(word) for word in ("unknown", "false", "true"))
        self._undecided = families.undecided
        self._rejected = Children(families.rejected, REJECTIONS)
        self._returned = Children(families.returned, NACK_REASONS)
        self._published = Children(families.published, PUBLISHED)
        self._unpublished = Children(families.unpublished, PUBLISHED)
        self._refused = Children(families.refused, PUBLISHED)
        self._dead = Children(families.dead, ("republished", "errored", "rejected"))
        self._stream_ends = Children(families.stream_ends)

    def received(self, delivery_attempt: int | None) -> None:
        """Count a message."""
        self._received[0 if delivery_attempt is None else min(delivery_attempt, 2)].inc()

    def rejected(self, reason: str, text: str) -> None:
        """Count a message that breaks the contract."""
        self._rejected[reason].inc()

    def claim_unresolved(self, message: JobMessage) -> None:
        """Count a message without an answer."""
        self._undecided.inc()

    def nacked(self, count: int, why: str) -> None:
        """Count messages that went back."""
        self._returned[why].inc(count)

    def published(self, kind: str, count: int) -> None:
        """Count messages out."""
        self._published[kind].inc(count)

    def publish_failed(self, kind: str, count: int, error: BaseException) -> None:
        """Count messages that Pub/Sub did not take."""
        self._unpublished[kind].inc(count)

    def publish_refused(self, kind: str, name: str, error: BaseException) -> None:
        """Count a message that Pub/Sub refuses."""
        self._refused[kind].inc()

    def dead_lettered(self, republished: int, errored: int, rejected: int) -> None:
        """Count dead letters."""
        self._dead["republished"].inc(republished)
        self._dead["errored"].inc(errored)
        self._dead["rejected"].inc(rejected)

    def stream_ended(self, error: BaseException | None, pause: float) -> None:
        """Count the end of a pull."""
        self._stream_ends["none" if error is None else type(error).__name__].inc()


class CareRecorder(Observer):
    """Counts what the relay, the rescue and the sweeper find."""

    def __init__(self, families: CareFamilies) -> None:
        self._families = families
        self._rescued = Children(families.rescued, ("requeued", "errored"))
        self._repairs = Children(families.repairs, REPAIRS)
        self._failures = Children(families.failures)

    def backlog(self, due: int, oldest: float) -> None:
        """Note what is due, and that the relay lives."""
        self._families.backlog.set(due)
        self._families.backlog_age.set(oldest)
        self._families.relay_at.set(time.time())

    def events_refused(self, count: int) -> None:
        """Note how many events were given up."""
        self._families.events_refused.set(count)

    def unfinished(self, orchestrations: int, oldest_job: float) -> None:
        """Note what is in progress."""
        self._families.in_progress.set(orchestrations)
        self._families.oldest.set(oldest_job)

    def rescued(self, worker_id: UUID, requeued: int, errored: int, jobs: Sequence[UUID]) -> None:
        """Count what a dead worker left."""
        self._families.rescues.inc()
        self._rescued["requeued"].inc(requeued)
        self._rescued["errored"].inc(errored)

    def repaired(self, cause: str, count: int) -> None:
        """Count repairs."""
        self._repairs[cause].inc(count)

    def jobs_released(self, jobs: Iterable[UUID]) -> None:
        """Count jobs that were held but not run."""
        self._families.released.inc(sum(1 for _ in jobs))

    def deadline_passed(self, orchestration_id: UUID, errored: int) -> None:
        """Count a deadline and its victims."""
        self._families.deadlines.inc()
        self._families.expired.inc(errored)

    def background_loop_failed(self, loop: str, error: BaseException, pause: float) -> None:
        """Count a failure of a background loop."""
        self._failures[loop].inc()


class WorkerRecorder(Observer):
    """Measures the worker itself."""

    def __init__(self, families: WorkerFamilies) -> None:
        self._families = families

    def worker_registered(self, worker_id: UUID, revision: str) -> None:
        """A registration is a heartbeat too."""
        self._families.beat_at.set(time.time())

    def worker_declared_dead(self, worker_id: UUID) -> None:
        """Count a death that others declared."""
        self._families.declared_dead.inc()

    def heartbeat(self, seconds: float, late: float) -> None:
        """Measure a heartbeat."""
        self._families.beat_at.set(time.time())
        self._families.beat_seconds.observe(seconds)
        self._families.beat_lag.observe(late)

    def heartbeat_failed(self, error: BaseException) -> None:
        """Count a heartbeat that was not written."""
        self._families.beat_failures.inc()

    def event_loop_lag(self, seconds: float) -> None:
        """Measure the event loop."""
        self._families.loop_lag.observe(seconds)

    def draining(self, running: int, seconds: float) -> None:
        """Note when the orderly stop began."""
        self._families.draining_at.set(time.time())
        self._families.drain_budget.set(seconds)

    def drained(self, interrupted: int, seconds: float) -> None:
        """Note how it ended."""
        self._families.drain_seconds.set(seconds)
        self._families.interrupted.inc(interrupted)
