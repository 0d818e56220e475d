"""Every metric of Headcount, declared: name, meaning, labels, buckets.

Built by `metrics.py`, which records into it; the dashboard and the alerts are checked against `Catalogue`. Names begin
with `headcount_`, units are base units, and no label can take more values than its declaration knows or caps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from daemon.job import Action, Status
from daemon.telemetry.tally import CountFamily, SpreadFamily

F = TypeVar("F", bound=MetricWrapperBase)

OTHER = "other"
POOL = "pool"
LABEL_LIMIT = 32
LANES = ("claim", "settle", "reject", "checkpoint")
HEARTBEAT, BACKLOG = "heartbeat", "backlog"
DATABASE_USERS = (*LANES, HEARTBEAT, BACKLOG)
OUTCOMES: dict[Action, str] = {
    Action.COMPLETE: Status.COMPLETED.value,
    Action.FAIL: Status.ERRORED.value,
    Action.RETRY: "Retried",
    Action.INTERRUPT: "Interrupted",
    Action.CLOSE: Status.ERRORED.value,
}
NACK_REASONS = ("drain", "buffer_timeout", "database", "paused", "over_capacity", "event_loop_blocked")
PUBLISHED = ("job", "event")
REPAIRS = ("counters",)
REJECTIONS = (
    "NoJobName",
    "BadJobName",
    "BadUuid",
    "BadNumber",
    "BadTag",
    "CountTooLarge",
    "CountMissing",
    "CountMismatch",
    "IndexOutOfRange",
    "IndexTaken",
    "NameMismatch",
    "InvalidJson",
    "ParamsNotObject",
    "ParamsContainNul",
    "ParamsTooDeep",
    "UnknownSchemaVersion",
    "NoSuchJob",
    "JobElsewhere",
    "NotStorable",
)

QUEUE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
DURATION_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500)
WRITE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Catalogue:
    """Declares metrics in one registry and remembers each series' name with its labels, the pool included."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.series: dict[str, frozenset[str]] = {}

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """A counter; its name ends with `_total`."""
        self.series[name] = frozenset([*labels, POOL])
        return Counter(name, meaning, labels, registry=self.registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """A gauge."""
        self.series[name] = frozenset([*labels, POOL])
        return Gauge(name, meaning, labels, registry=self.registry)

    def histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """A histogram with these upper bounds, in the unit that the name ends with."""
        self.series[f"{name}_bucket"] = frozenset([*labels, POOL, "le"])
        self.series[f"{name}_sum"] = self.series[f"{name}_count"] = frozenset([*labels, POOL])
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

    def tally(self, name: str, meaning: str, *labels: str) -> CountFamily:
        """A counter of what happens to every job or message, counted by the event loop's thread alone."""
        self.series[name] = frozenset([*labels, POOL])
        return CountFamily(self.registry, name, meaning, labels)

    def spread(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> SpreadFamily:
        """A histogram of the same kind."""
        self.series[f"{name}_bucket"] = frozenset([*labels, POOL, "le"])
        self.series[f"{name}_sum"] = self.series[f"{name}_count"] = frozenset([*labels, POOL])
        return SpreadFamily(self.registry, name, meaning, buckets, labels)


class Children(Generic[F]):
    """The series of a metric with one label, by its value: born at zero for known values, `other` beyond the limit.

    A series that is born at 1 hides its first event from `increase()`, so whatever is known is born with the worker.
    """

    def __init__(self, family: F, known: Iterable[str] = (), *, limit: int = LABEL_LIMIT) -> None:
        self._family: F = family
        self._children: dict[str, F] = {value: family.labels(value) for value in known}
        self._limit = max(limit, len(self._children))

    def __getitem__(self, value: str) -> F:
        child = self._children.get(value)
        return self._born(value) if child is None else child

    def _born(self, value: str) -> F:
        if len(self._children) >= self._limit:
            return self._family.labels(OTHER)
        child = self._family.labels(value)
        self._children[value] = child
        return child


class JobFamilies:
    """What becomes of jobs. `outcome` is the settlement's: two are final, three are not."""

    def __init__(self, new: Catalogue) -> None:
        name = "job_name"
        self.started = new.tally("headcount_jobs_started_total", "Attempts that a handler began.", name)
        self.finished = new.tally(
            "headcount_jobs_finished_total",
            "Attempts whose end is stored: Completed and Errored end the job, Retried and Interrupted do not, "
            "Stale came too late to count.",
            name,
            "outcome",
        )
        self.failures = new.counter(
            "headcount_attempt_failures_total", "Attempts that did not complete, by kind of error.", name, "kind"
        )
        self.queue_delay = new.spread(
            "headcount_queue_delay_seconds", "From the publication of a message to its start.", QUEUE_BUCKETS, name
        )
        self.duration = new.spread("headcount_job_duration_seconds", "How long an attempt ran.", DURATION_BUCKETS, name)
        self.stuck = new.counter(
            "headcount_handlers_stuck_total", "Handlers that went on although they were cancelled.", name
        )
        self.blocked = new.counter(
            "headcount_event_loop_blocked_total",
            "Times a job was found to block the event loop for over a second; again every 5 s while it lasts.",
            name,
        )
        self.redelivered = new.counter(
            "headcount_redeliveries_total", "Deliveries of a job after its first one, by cause.", "cause"
        )
        self.refused = new.counter(
            "headcount_messages_refused_total", "Messages acked because nothing was left to do.", "reason"
        )
        self.lost = new.counter("headcount_claims_lost_total", "Attempts that ran on after losing their claim.")


class MessageFamilies:
    """What becomes of messages, in and out."""

    def __init__(self, new: Catalogue) -> None:
        self.received = new.tally(
            "headcount_messages_received_total", "Messages that arrived, by what Pub/Sub says of it.", "redelivered"
        )
        self.undecided = new.counter(
            "headcount_claims_unresolved_total", "Messages given back because no claim got an answer."
        )
        self.returned = new.counter(
            "headcount_messages_nacked_total", "Messages that never started and went back to Pub/Sub.", "reason"
        )
        self.rejected = new.counter(
            "headcount_messages_rejected_total", "Messages kept as rejected: they break the contract.", "reason"
        )
        self.dead = new.counter(
            "headcount_dead_letters_total", "Dead letters: jobs published again or closed, messages kept.", "outcome"
        )
        self.published = new.counter("headcount_messages_published_total", "Messages published.", "type")
        self.unpublished = new.counter(
            "headcount_publish_failures_total", "Messages that Pub/Sub did not take; they are due again.", "type"
        )
        self.refused = new.counter(
            "headcount_publish_refusals_total", "Messages that Pub/Sub refuses for what they hold, each time.", "type"
        )
        self.stream_ends = new.counter("headcount_stream_ends_total", "Streaming pulls that ended, by error.", "error")
        self.outstanding = new.gauge("headcount_messages_outstanding", "Messages that this worker leases.")
        self.held = new.gauge("headcount_messages_buffered", "Leased messages that wait here for a free slot.")


class StoreFamilies:
    """The database as the worker sees it. `lane` names a kind of batch (claim, settle...)."""

    def __init__(self, new: Catalogue) -> None:
        self.size = new.histogram("headcount_batch_items", "Items written by one commit.", SIZE_BUCKETS, "operation")
        self.seconds = new.histogram("headcount_batch_commit_seconds", "One group commit.", WRITE_BUCKETS, "operation")
        self.splits = new.counter("headcount_batch_splits_total", "Batches split to find a bad item.", "operation")
        self.refused = new.counter(
            "headcount_batch_items_rejected_total", "Items that can't be stored by any means.", "operation"
        )
        self.retries = new.counter("headcount_batch_retries_total", "Batches repeated: no answer.", "operation")
        self.unavailable = new.gauge(
            "headcount_database_unavailable",
            "1 while the database does not answer a batch, the heartbeat or the count of the backlog.",
            "operation",
        )
        self.unavailable_seconds = new.counter(
            "headcount_database_unavailable_seconds_total", "Time without the database.", "operation"
        )
        self.pool_wait = new.histogram(
            "headcount_connection_wait_seconds", "Waits for a pooled connection.", WRITE_BUCKETS
        )


class CareFamilies:
    """What the relay, the rescue and the sweeper find. Every worker counts; take the maximum over the backlogs."""

    def __init__(self, new: Catalogue) -> None:
        self.backlog = new.gauge("headcount_relay_backlog", "Jobs and events due for publication, in the database.")
        self.backlog_age = new.gauge("headcount_relay_backlog_age_seconds", "How long the oldest of them has been due.")
        self.relay_at = new.gauge("headcount_relay_last_run_timestamp_seconds", "When the backlog was last counted.")
        self.events_refused = new.gauge(
            "headcount_events_refused", "Events given up because Pub/Sub refuses them, in the database."
        )
        self.in_progress = new.gauge(
            "headcount_orchestrations_in_progress", "Unfinished orchestrations, in the database."
        )
        self.oldest = new.gauge(
            "headcount_oldest_unfinished_age_seconds", "Age of the oldest unfinished orchestration, 0 without one."
        )
        self.rescues = new.counter("headcount_rescues_total", "Dead workers whose jobs were taken back.")
        self.rescued = new.counter("headcount_jobs_rescued_total", "Jobs taken back from dead workers.", "outcome")
        self.repairs = new.counter("headcount_repairs_total", "Rows repaired by the sweeper: each is a bug.", "cause")
        self.released = new.counter("headcount_jobs_released_total", "Jobs held here but not run: each is a bug.")
        self.deadlines = new.counter("headcount_deadlines_passed_total", "Orchestrations whose deadline passed.")
        self.expired = new.counter("headcount_jobs_expired_total", "Jobs Errored by a passed deadline.")
        self.failures = new.counter(
            "headcount_background_loop_failures_total", "Failures of a background loop.", "loop"
        )


class WorkerFamilies:
    """The worker itself."""

    def __init__(self, new: Catalogue) -> None:
        self.facts = new.gauge(
            "headcount_worker_info", "1; the labels say what runs here.", "version", "revision", "python", "pubsub"
        )
        self.slots = new.gauge("headcount_slots", "How many jobs may run at the same time.")
        self.slots_used = new.gauge("headcount_slots_used", "How many jobs run.")
        self.beat_at = new.gauge("headcount_heartbeat_timestamp_seconds", "When the last heartbeat was written.")
        self.beat_lag = new.histogram("headcount_heartbeat_lag_seconds", "How late heartbeats began.", LAG_BUCKETS)
        self.beat_seconds = new.histogram(
            "headcount_heartbeat_duration_seconds", "How long heartbeats took.", WRITE_BUCKETS
        )
        self.beat_failures = new.counter("headcount_heartbeat_failures_total", "Heartbeats that were not written.")
        self.loop_lag = new.histogram(
            "headcount_event_loop_lag_seconds", "How late the event loop answered.", LAG_BUCKETS
        )
        self.declared_dead = new.counter("headcount_worker_declared_dead_total", "Times others declared it dead.")
        self.draining_at = new.gauge(
            "headcount_draining_timestamp_seconds", "When the orderly stop began; 0 before it."
        )
        self.drain_budget = new.gauge("headcount_drain_budget_seconds", "How long handlers may go on in a stop.")
        self.drain_seconds = new.gauge(
            "headcount_drain_duration_seconds", "How long the orderly stop took, once it is over."
        )
        self.interrupted = new.counter("headcount_drain_interrupted_jobs_total", "Jobs interrupted by the stop.")
