"""What the worker reports while it works: one method per thing that happens.

`engine/` and `postgres/` call an Observer and never a logger or a metric; `telemetry/` holds the subscribers. Methods
must be quick, must not raise and may be called from any thread. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from daemon.job import Cause, Claim, JobMessage, Refusal, Settled, Settlement


@dataclass(frozen=True, slots=True)
class BlockedLoop:
    """Where an event loop is that does not answer: `stack` is the innermost first, `file:line in function`.

    `claim` is the job that holds it; where that is not certain it is None, and `suspects` are the jobs it may be.
    """

    claim: Claim | None
    suspects: tuple[Claim, ...]
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log line of a handler that runs in another process. `level` is that of `logging`; `values` are its fields."""

    logger: str
    level: int
    text: str
    values: Mapping[str, str]


class Observer:
    """Receives everything and does nothing: subscribers override what they need."""

    def received(self, delivery_attempt: int | None) -> None:
        """A message arrived from Pub/Sub."""

    def rejected(self, reason: str, text: str) -> None:
        """A message was kept as rejected."""

    def refused(self, message: JobMessage, why: Refusal, cause: Cause | None) -> None:
        """A message had nothing left to do and is acked."""

    def claim_unresolved(self, message: JobMessage) -> None:
        """A claim got no answer after several tries; the message is nacked."""

    def nacked(self, count: int, why: str) -> None:
        """Messages that never started were nacked (`drain`, `buffer_timeout`, `paused`...)."""

    def started(self, claim: Claim, queued: float) -> None:
        """A handler is about to run; `queued` is since its message was published, 0 when unknown."""

    def finished(self, claim: Claim, settlement: Settlement, seconds: float) -> None:
        """An attempt ended after `seconds` and its settlement is about to be stored."""

    def settled(self, claim: Claim, settlement: Settlement, answer: Settled) -> None:
        """The settlement is stored, or turned out stale."""

    def handler_stuck(self, claim: Claim, seconds: float) -> None:
        """A handler goes on although it was cancelled `seconds` ago."""

    def memory_measured(self, used: int, expected: int, limit: int) -> None:
        """What this worker's processes take, what running jobs will probably add to it, and the limit; in bytes."""

    def memory_short(self, short: bool, used: int, expected: int) -> None:
        """From here on no job fits into the memory (bytes as above), or jobs are taken again."""

    def thread_computed(self, claim: Claim, seconds: float) -> None:
        """A handler in a thread has used so many seconds of CPU: others may have waited for the interpreter."""

    def handler_logged(self, claim: Claim | None, line: LogLine) -> None:
        """A handler in another process has logged or printed a line; `claim` is None when none ran at the time."""

    def batch_committed(self, operation: str, size: int, seconds: float) -> None:
        """A group commit of `size` items took `seconds`."""

    def batch_split(self, operation: str, size: int) -> None:
        """A batch held a bad item and was split."""

    def item_rejected(self, operation: str, error: BaseException) -> None:
        """One item of a batch can't be stored by any means."""

    def database_unavailable(self, operation: str, error: BaseException, pause: float) -> None:
        """The database did not answer; the batch is tried again after `pause`."""

    def database_available(self, operation: str, seconds: float) -> None:
        """The database answers again after `seconds`."""

    def connection_waited(self, seconds: float) -> None:
        """A connection of the pool was waited for."""

    def published(self, kind: str, count: int) -> None:
        """The relay published messages (`job` or `event`)."""

    def publish_failed(self, kind: str, count: int, error: BaseException) -> None:
        """Pub/Sub did not take a batch; it is due again."""

    def publish_refused(self, kind: str, name: str, error: BaseException) -> None:
        """Pub/Sub refuses the message of one job or orchestration (`name` is its id); it is tried again later."""

    def events_refused(self, count: int) -> None:
        """How many events have been given up because Pub/Sub refuses them."""

    def backlog(self, due: int, oldest: float) -> None:
        """How many jobs and events are due for publication, and for how long the oldest one has been."""

    def unfinished(self, orchestrations: int, oldest_job: float) -> None:
        """How many orchestrations are in progress, and the age of the oldest unfinished job."""

    def rescued(self, worker_id: UUID, requeued: int, errored: int, jobs: Sequence[UUID]) -> None:
        """Jobs of a dead worker were taken back; `jobs` are some of them, those that are Errored first."""

    def repaired(self, cause: str, count: int) -> None:
        """The sweeper repaired something: each one is a bug."""

    def jobs_released(self, jobs: Iterable[UUID]) -> None:
        """The database says we hold jobs that we do not run: they were freed."""

    def claim_lost(self, job_id: UUID, attempt: int) -> None:
        """We run an attempt that the database no longer counts as ours: its handler is cancelled."""

    def heartbeat(self, seconds: float, late: float) -> None:
        """A heartbeat took `seconds` and began `late` after it was due."""

    def heartbeat_failed(self, error: BaseException) -> None:
        """A heartbeat could not be written."""

    def event_loop_lag(self, seconds: float) -> None:
        """How late the event loop answers."""

    def event_loop_blocked(self, seconds: float, where: BlockedLoop) -> None:
        """The event loop has not answered for `seconds`; said again every few seconds while it lasts."""

    def stream_ended(self, error: BaseException | None, pause: float) -> None:
        """A streaming pull ended for a transient reason; it is reopened after `pause`."""

    def deadline_passed(self, orchestration_id: UUID, errored: int) -> None:
        """An orchestration's deadline passed with this many unfinished instances."""

    def dead_lettered(self, republished: int, errored: int, rejected: int) -> None:
        """Dead letters were consumed: jobs published again, jobs closed, messages kept as rejected."""

    def worker_registered(self, worker_id: UUID, revision: str) -> None:
        """The worker is registered and begins to pull."""

    def worker_declared_dead(self, worker_id: UUID) -> None:
        """The worker was declared dead by another one and starts over."""

    def draining(self, running: int, seconds: float) -> None:
        """An orderly stop begins with `running` jobs and `seconds` to end them."""

    def drained(self, interrupted: int, seconds: float) -> None:
        """The graceful stop has ended."""

    def background_loop_failed(self, loop: str, error: BaseException, pause: float) -> None:
        """A background loop (relay, rescue, sweep...) failed; it goes on after `pause`."""


class Observers(Observer):
    """Passes every report on to the observers that override it, in order.

    The methods are made here, each with its callees looked up once: a loop over all observers in each of them
    would cost a job's reports a third more (2.4 to 3.2 us).
    """

    def __init__(self, *observers: Observer) -> None:
        for name in [name for name in vars(Observer) if not name.startswith("_")]:
            setattr(self, name, _fan_out([getattr(each, name) for each in observers if _overrides(each, name)]))


def _overrides(observer: Observer, name: str) -> bool:
    return getattr(type(observer), name) is not getattr(Observer, name) or name in vars(observer)


def _fan_out(methods: list[Callable[..., None]]) -> Callable[..., None]:
    if len(methods) == 1:
        return methods[0]

    def report(*args: object) -> None:
        for method in methods:
            method(*args)

    return report
