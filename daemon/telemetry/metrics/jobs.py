"""What becomes of jobs, by job name.

Called for every job from the event loop: about two microseconds per job in all, no waiting, no raising.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from daemon.job import Action, Cause, Claim, JobMessage, Kind, Refusal, Settled, Settlement, Status
from daemon.observe import BlockedLoop, Observer
from daemon.telemetry.metrics.registry import OTHER, MetricsRegistry
from daemon.telemetry.traceparent import trace_id

QUEUE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
DURATION_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
OUTCOMES: dict[Action, str] = {
    Action.COMPLETE: Status.COMPLETED.value,
    Action.FAIL: Status.ERRORED.value,
    Action.RETRY: "Retried",
    Action.INTERRUPT: "Interrupted",
    Action.CLOSE: Status.ERRORED.value,
}
STALE = "Stale"
COMMON_KINDS = (Kind.RAISED, Kind.TIMED_OUT, Kind.INTERRUPTED)


class JobMetrics(Observer):
    """Counts attempts by job name; names without a handler here share the series `other`."""

    def __init__(self, registry: MetricsRegistry, job_names: Iterable[str]) -> None:
        name = "job_name"
        started = registry.fast_counter("headcount_jobs_started_total", "Attempts that a handler began.", name)
        finished = registry.fast_counter(
            "headcount_jobs_finished_total",
            "Attempts whose end is stored: Completed and Errored end the job, Retried and Interrupted do not, "
            "Stale came too late to count.",
            name,
            "outcome",
        )
        queue_delay = registry.fast_histogram(
            "headcount_queue_delay_seconds", "From the publication of a message to its start.", QUEUE_BUCKETS, name
        )
        duration = registry.fast_histogram(
            "headcount_job_duration_seconds", "How long an attempt ran.", DURATION_BUCKETS, name
        )
        names = {*job_names, OTHER}
        self._started = {name: started.labels(name) for name in names}
        self._queue_delay = {name: queue_delay.labels(name) for name in names}
        self._duration = {name: duration.labels(name) for name in names}
        self._finished = {
            name: {action: finished.labels(name, outcome) for action, outcome in OUTCOMES.items()} for name in names
        }
        self._stale = {name: finished.labels(name, STALE) for name in names}
        self._failures = registry.counter(
            "headcount_attempt_failures_total", "Attempts that did not complete, by kind of error.", name, "kind"
        )
        for job_name in names:  # a kind that most handlers never meet gets its series when it is met
            for kind in Kind if job_name == OTHER else COMMON_KINDS:
                self._failures.labels(job_name, kind.value)
        self._declare_incidents(registry, names)

    def _declare_incidents(self, registry: MetricsRegistry, names: set[str]) -> None:
        name = "job_name"
        self._stuck = registry.counter(
            "headcount_handlers_stuck_total", "Handlers that went on although they were cancelled.", name, known=names
        )
        self._computed = registry.counter(
            "headcount_thread_cpu_seconds_total",
            "CPU time of attempts that computed for over a second in a thread, where other jobs wait for them.",
            name,
            known=names,
        )
        self._blocked = registry.counter(
            "headcount_event_loop_blocked_total",
            "Times a job was found to block the event loop for over a second; again every 5 s while it lasts.",
            name,
            known=names,
        )
        self._redelivered = registry.counter(
            "headcount_redeliveries_total", "Deliveries of a job after its first one, by cause.", "cause", known=Cause
        )
        self._refused = registry.counter(
            "headcount_messages_refused_total",
            "Messages acked because nothing was left to do.",
            "reason",
            known=Refusal,
        )
        self._claims_lost = registry.counter(
            "headcount_claims_lost_total", "Attempts that ran on after losing their claim."
        )

    def _name(self, claim: Claim) -> str:
        return claim.job_name if claim.job_name in self._started else OTHER

    def started(self, claim: Claim, queued: float) -> None:
        name = self._name(claim)
        self._started[name].inc()
        if queued > 0:
            self._queue_delay[name].observe(queued)
        if claim.cause is not None:
            self._redelivered.labels(claim.cause.value).inc()

    def refused(self, message: JobMessage, why: Refusal, cause: Cause | None) -> None:
        self._refused.labels(why.value).inc()
        if cause is not None:
            self._redelivered.labels(cause.value).inc()

    def finished(self, claim: Claim, settlement: Settlement, seconds: float) -> None:
        trace = trace_id(claim.traceparent)  # stands beside the duration, as its exemplar
        self._duration[self._name(claim)].observe(seconds, None if trace is None else {"trace_id": trace})

    def settled(self, claim: Claim, settlement: Settlement, answer: Settled) -> None:
        name = self._name(claim)
        if answer is Settled.STALE:
            self._stale[name].inc()
            return
        self._finished[name][settlement.action].inc()
        if settlement.error is not None:
            self._failures.labels(name, settlement.error.kind.value).inc()

    def handler_stuck(self, claim: Claim, seconds: float) -> None:
        self._stuck.labels(self._name(claim)).inc()

    def thread_computed(self, claim: Claim, seconds: float) -> None:
        self._computed.labels(self._name(claim)).inc(seconds)

    def event_loop_blocked(self, seconds: float, where: BlockedLoop) -> None:
        self._blocked.labels(OTHER if where.claim is None else self._name(where.claim)).inc()

    def claim_lost(self, job_id: UUID, attempt: int) -> None:
        self._claims_lost.inc()
