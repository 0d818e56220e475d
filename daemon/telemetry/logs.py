"""Every log line of a worker, and where lines go.

`configure` is called once by the command that runs; `Logs` is built by the service and hears the worker. One line per
thing that matters: nothing per message or job at `info`, and floods are summed up. Handlers' `ctx.log` and libraries
go the same way, through the steps in `log_format.py`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Literal, TextIO
from uuid import UUID

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from daemon.job import Action, Cause, Claim, JobMessage, Refusal, Settled, Settlement
from daemon.observe import BlockedLoop, LogLine, Observer
from daemon.telemetry.limiter import Limiter
from daemon.telemetry.log_format import CURRENT, ROOT_LOGGER, add_claim, as_json, cloud_format, console_format, mask

FAILURES = {
    Action.FAIL: ("warning", "the job is Errored"),
    Action.RETRY: ("info", "the attempt failed and is retried"),
}
SUMMARY_LINES = 20  # of so many kinds, the most frequent ones, a line each; one line for all others
LATE_BEAT = 5.0
NAMED_JOBS = 20


def configure(
    form: Literal["json", "console"] = "json",
    level: str = "info",
    *,
    project: str = "",
    own: Sequence[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send every line of this process to `stream` (standard error) in one form.

    Headcount and the loggers named in `own` (the handlers' packages) speak from `level` on, libraries from warning on.
    `project` is the Google Cloud project whose traces the lines link to.
    """
    stream = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(form, project, colors=stream.isatty()))
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    for name in (ROOT_LOGGER, *own):
        logging.getLogger(name).setLevel(threshold)
    _keep_googles_lines(max(threshold, logging.WARNING))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _keep_googles_lines(threshold: int) -> None:
    """Google's clients cut their loggers off from everybody's when the first of them is made, unless a level is set."""
    google = logging.getLogger("google")
    google.setLevel(threshold)
    google.propagate = True


def _formatter(form: Literal["json", "console"], project: str, *, colors: bool) -> logging.Formatter:
    common: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        add_claim,
        structlog.processors.format_exc_info,
        mask,
    ]
    if form == "json":
        last: list[Processor] = [cloud_format(project), as_json]
    else:
        last = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            console_format,
            structlog.dev.ConsoleRenderer(colors=colors),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level], processors=[*common, *last]
    )


class Logs(Observer):
    """Writes a line for what an operator should know."""

    def __init__(self, limiter: Limiter | None = None) -> None:
        self._log: FilteringBoundLogger = structlog.get_logger(ROOT_LOGGER)
        self._limiter = limiter or Limiter()
        self._debugs = logging.getLogger(ROOT_LOGGER).isEnabledFor(logging.DEBUG)

    # --- one job -------------------------------------------------------------------------------------------------

    def started(self, claim: Claim, queued: float) -> None:
        """Name the job on all lines of its handler's context, which ends with the task that it runs in."""
        CURRENT.set(claim)

    def settled(self, claim: Claim, settlement: Settlement, answer: Settled) -> None:
        """A final failure is a warning, one that is retried is for information, a success is for debugging."""
        error, name = settlement.error, claim.job_name
        if answer is Settled.STALE:
            text = "an outcome came too late and has no effect: the job belongs to another attempt"
            self._limited(f"stale {name}", "warning", text, **_labels(claim), action=settlement.action.value)
        elif error is not None and settlement.action in FAILURES:
            level, text = FAILURES[settlement.action]
            shown = {**_labels(claim), "kind": error.kind.value, "reason": error.message}
            self._limited(f"{settlement.action} {name} {error.kind}", level, text, **shown)
        elif self._debugs:
            self._log.debug("an outcome is stored", **_labels(claim), action=settlement.action.value)

    def thread_computed(self, claim: Claim, seconds: float) -> None:
        """A handler belongs elsewhere."""
        text = "a handler computed in a thread, where all other jobs wait for it: give it executor='process'"
        self._limited(f"computed {claim.job_name}", "warning", text, **_labels(claim), cpu_seconds=round(seconds, 1))

    def handler_logged(self, claim: Claim | None, line: LogLine) -> None:
        """As it would look if the handler ran here; not limited either."""
        labels = {} if claim is None else _labels(claim)
        structlog.get_logger(line.logger).log(line.level, line.text, **{**line.values, **labels})

    def handler_stuck(self, claim: Claim, seconds: float) -> None:
        """A handler ignores its end."""
        text = "a handler goes on although it was cancelled"
        self._limited(f"stuck {claim.job_name}", "warning", text, **_labels(claim), seconds=round(seconds, 1))

    def claim_lost(self, job_id: UUID, attempt: int) -> None:
        """Somebody else owns the job."""
        shown = {"job_id": str(job_id), "attempt": attempt}
        self._limited("claim lost", "warning", "an attempt lost its claim; its handler is cancelled", **shown)

    # --- messages ------------------------------------------------------------------------------------------------

    def rejected(self, reason: str, text: str) -> None:
        """A message was put aside."""
        self._limited(f"rejected {reason}", "warning", "a message was rejected and kept", reason=reason, problem=text)

    def refused(self, message: JobMessage, why: Refusal, cause: Cause | None) -> None:
        """Nothing was left to do: normal."""
        if self._debugs:
            self._log.debug("a message had nothing left to do", job_id=str(message.job_id), reason=why.value)

    def claim_unresolved(self, message: JobMessage) -> None:
        """The database gave no answer about a job."""
        text = "a claim got no answer; the message goes back"
        self._limited("undecided", "warning", text, job_id=str(message.job_id), job_name=message.job_name)

    def nacked(self, count: int, why: str) -> None:
        """Messages went back unstarted."""
        self._limited(f"returned {why}", "info", "messages went back to Pub/Sub", count=count, reason=why)

    def publish_failed(self, kind: str, count: int, error: BaseException) -> None:
        """Pub/Sub did not take a batch."""
        text = "Pub/Sub did not take a batch; it is published again"
        self._limited(f"publish {kind}", "warning", text, type=kind, count=count, problem=_sentence(error))

    def publish_refused(self, kind: str, name: str, error: BaseException) -> None:
        """Pub/Sub refuses one message."""
        text = "Pub/Sub refused a message for what it holds; it is tried again later"
        self._log.warning(text, type=kind, id=name, problem=_sentence(error))

    def stream_ended(self, error: BaseException | None, pause: float) -> None:
        """A pull ended: every half hour or so it is normal."""
        problem = None if error is None else _sentence(error)
        text = "a streaming pull ended and is opened again"
        self._limited("stream", "info", text, problem=problem, pause=round(pause, 2))

    def dead_lettered(self, republished: int, errored: int, rejected: int) -> None:
        """Dead letters were consumed."""
        if republished or errored or rejected:
            self._log.warning("dead letters were consumed", republished=republished, errored=errored, rejected=rejected)

    # --- the database --------------------------------------------------------------------------------------------

    def item_rejected(self, operation: str, error: BaseException) -> None:
        """An item can't be stored."""
        text = "an item can't be stored by any means"
        self._limited(f"item {operation}", "error", text, operation=operation, problem=_sentence(error))

    def batch_split(self, operation: str, size: int) -> None:
        """A batch was split."""
        self._log.debug("a batch held a bad item and was split", operation=operation, size=size)

    def database_unavailable(self, operation: str, error: BaseException, pause: float) -> None:
        """The database does not answer."""
        text, shown = "the database does not answer; nothing is lost, it is tried again", {"problem": _sentence(error)}
        self._limited(f"away {operation}", "warning", text, operation=operation, pause=round(pause, 2), **shown)

    def database_available(self, operation: str, seconds: float) -> None:
        """The database answers again."""
        text = "the database answers again"
        self._limited(f"back {operation}", "info", text, operation=operation, seconds=round(seconds, 1))

    # --- relay, rescue, sweeper ----------------------------------------------------------------------------------

    def rescued(self, worker_id: UUID, requeued: int, errored: int, jobs: Sequence[UUID]) -> None:
        """A dead worker's jobs were taken back."""
        text = "the jobs of a dead worker were taken back"
        listed = [str(job) for job in jobs[:NAMED_JOBS]]
        self._log.warning(text, dead_worker=str(worker_id), requeued=requeued, errored=errored, jobs=listed)

    def repaired(self, cause: str, count: int) -> None:
        """The sweeper found a bug of ours."""
        self._log.error("the sweeper repaired rows: this is a bug, please report it", cause=cause, count=count)

    def jobs_released(self, jobs: Iterable[UUID]) -> None:
        """Held but not run: a bug of ours, or a lost answer of the database."""
        listed = [str(job) for job in jobs]
        self._log.error("jobs were held here but not run; they were freed", count=len(listed), jobs=listed[:10])

    def deadline_passed(self, orchestration_id: UUID, errored: int) -> None:
        """An orchestration ran out of time."""
        text = "an orchestration's deadline passed"
        self._limited("deadline", "warning", text, orchestration_id=str(orchestration_id), errored=errored)

    def background_loop_failed(self, loop: str, error: BaseException, pause: float) -> None:
        """A background loop failed."""
        text = "a background loop failed and goes on after a pause"
        self._limited(f"loop {loop}", "error", text, loop=loop, pause=round(pause, 2), exc_info=error)

    # --- the worker ----------------------------------------------------------------------------------------------

    def worker_registered(self, worker_id: UUID, revision: str) -> None:
        """The worker begins."""
        self._log.info("the worker is registered and pulls", worker_id=str(worker_id), revision=revision)

    def worker_declared_dead(self, worker_id: UUID) -> None:
        """Others think it dead."""
        text = "this worker was declared dead; it cancels its handlers and starts over under a new id"
        self._log.error(text, worker_id=str(worker_id))

    def heartbeat(self, seconds: float, late: float) -> None:
        """A late heartbeat is worth a line; each one is the moment to sum up what was left out."""
        if late >= LATE_BEAT:
            text = "a heartbeat was late"
            self._limited("late beat", "warning", text, late=round(late, 1), seconds=round(seconds, 1))
        self._log_suppressed()

    def heartbeat_failed(self, error: BaseException) -> None:
        """A heartbeat was not written."""
        self._limited("beat", "warning", "a heartbeat could not be written", problem=_sentence(error))

    def event_loop_blocked(self, seconds: float, where: BlockedLoop) -> None:
        """The event loop is blocked: by whom, and where its thread stands."""
        text = "the event loop was blocked: a handler hogs it, give it executor='thread'"
        labels = {} if where.claim is None else _labels(where.claim)
        suspects = [f"{claim.job_name} {claim.job_id}" for claim in where.suspects]
        shown = {**labels, "suspects": suspects} if suspects else labels
        self._limited("loop blocked", "warning", text, **shown, seconds=round(seconds, 1), stack=list(where.stack))

    def memory_short(self, short: bool, used: int, expected: int) -> None:
        """Nothing is taken, or something again."""
        text = "no jobs are taken: there is no memory for them" if short else "there is memory for jobs again"
        self._limited(f"memory {short}", "warning", text, used=used, expected=expected)

    def draining(self, running: int, seconds: float) -> None:
        """The end begins."""
        self._log.info("the worker drains", running=running, budget=seconds)

    def drained(self, interrupted: int, seconds: float) -> None:
        """The end."""
        self._log_suppressed(everything=True)
        self._log.info("the worker has drained", interrupted=interrupted, seconds=round(seconds, 2))

    def _limited(self, key: str, level: str, text: str, **values: object) -> None:
        if self._limiter.allows(key):
            self._log.log(logging.getLevelNamesMapping()[level.upper()], text, **values)

    def _log_suppressed(self, *, everything: bool = False) -> None:
        left = sorted(self._limiter.left_out(everything=everything).items(), key=lambda one: one[1], reverse=True)
        for like, count in left[:SUMMARY_LINES]:
            self._log.info("more lines like this were left out", like=like, count=count)
        others = left[SUMMARY_LINES:]
        if others:
            count = sum(count for _, count in others)
            self._log.info("more lines of other kinds were left out", kinds=len(others), count=count)


def _labels(claim: Claim) -> dict[str, object]:
    return {
        "orchestration_id": str(claim.orchestration_id),
        "job_id": str(claim.job_id),
        "job_name": claim.job_name,
        "attempt": claim.attempt,
        "traceparent": claim.traceparent,
    }


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
