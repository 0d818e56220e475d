"""What becomes of messages, in and out.

The reasons of a rejection are those of the code; any other value counts as `other` beyond the limit.
"""

from __future__ import annotations

from daemon.job import JobMessage
from daemon.observe import Observer
from daemon.telemetry.metrics.registry import BoundedCounter, MetricsRegistry

NACK_REASONS = ("drain", "buffer_timeout", "database", "paused", "over_capacity", "event_loop_blocked", "memory")
PUBLISHED = ("job", "event")
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


class MessageMetrics(Observer):
    """What arrives, and what never becomes an attempt."""

    def __init__(self, registry: MetricsRegistry) -> None:
        received = registry.fast_counter(
            "headcount_messages_received_total", "Messages that arrived, by what Pub/Sub says of it.", "redelivered"
        )
        self._received = [received.labels(redelivered) for redelivered in ("unknown", "false", "true")]
        self._unresolved = registry.counter(
            "headcount_claims_unresolved_total", "Messages given back because no claim got an answer."
        )
        self._nacked = registry.counter(
            "headcount_messages_nacked_total",
            "Messages that never started and went back to Pub/Sub.",
            "reason",
            known=NACK_REASONS,
        )
        self._rejected = BoundedCounter(
            registry.counter(
                "headcount_messages_rejected_total",
                "Messages kept as rejected: they break the contract.",
                "reason",
                known=REJECTIONS,
            ),
            REJECTIONS,
        )
        self._dead_letters = registry.counter(
            "headcount_dead_letters_total",
            "Dead letters: jobs published again or closed, messages kept.",
            "outcome",
            known=("republished", "errored", "rejected"),
        )
        self._stream_ends = BoundedCounter(
            registry.counter("headcount_stream_ends_total", "Streaming pulls that ended, by error.", "error")
        )
        self.outstanding = registry.gauge("headcount_messages_outstanding", "Messages that this worker leases.")
        self.buffered = registry.gauge("headcount_messages_buffered", "Leased messages that wait here for a free slot.")

    def received(self, delivery_attempt: int | None) -> None:
        self._received[0 if delivery_attempt is None else min(delivery_attempt, 2)].inc()

    def rejected(self, reason: str, text: str) -> None:
        self._rejected.inc(reason)

    def claim_unresolved(self, message: JobMessage) -> None:
        self._unresolved.inc()

    def nacked(self, count: int, why: str) -> None:
        self._nacked.labels(why).inc(count)

    def dead_lettered(self, republished: int, errored: int, rejected: int) -> None:
        self._dead_letters.labels("republished").inc(republished)
        self._dead_letters.labels("errored").inc(errored)
        self._dead_letters.labels("rejected").inc(rejected)

    def stream_ended(self, error: BaseException | None, pause: float) -> None:
        self._stream_ends.inc("none" if error is None else type(error).__name__)


class PublishMetrics(Observer):
    """What the relay sends: jobs and events."""

    def __init__(self, registry: MetricsRegistry) -> None:
        self._published = registry.counter(
            "headcount_messages_published_total", "Messages published.", "type", known=PUBLISHED
        )
        self._publish_failures = registry.counter(
            "headcount_publish_failures_total",
            "Messages that Pub/Sub did not take; they are due again.",
            "type",
            known=PUBLISHED,
        )
        self._publish_refusals = registry.counter(
            "headcount_publish_refusals_total",
            "Messages that Pub/Sub refuses for what they hold, each time.",
            "type",
            known=PUBLISHED,
        )

    def published(self, kind: str, count: int) -> None:
        self._published.labels(kind).inc(count)

    def publish_failed(self, kind: str, count: int, error: BaseException) -> None:
        self._publish_failures.labels(kind).inc(count)

    def publish_refused(self, kind: str, name: str, error: BaseException) -> None:
        self._publish_refusals.labels(kind).inc()
