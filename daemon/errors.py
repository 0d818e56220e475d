"""Every exception of Headcount; the docstring of each is its meaning.

HeadcountError
├── StartupError              the worker refuses to start; carries the command that fixes it (exit code 2)
│   ├── SettingsInvalid
│   ├── HandlersInvalid
│   ├── DatabaseNotReady
│   └── SubscriptionNotReady
├── DecodeError               a message that breaks the contract; it is kept in rejected_message
├── StoreUnavailable          the database is unavailable; the caller keeps what it has and tries again
├── WorkerNotFresh            this worker's heartbeat is too old to claim anything
├── WorkerGone                this worker's row was deleted: it was declared dead
├── SlotsExhausted            threads that nothing can stop occupy half of the slots; the worker drains and exits
├── ClaimLost                 the attempt that is running no longer owns its job
├── ResultNotStorable         a value that JSON in Postgres can't hold
├── InvalidStep               a durable step that could not be told from another one
├── StepsChanged              the recorded steps of a job are not those of its handler
├── TooManyNotes              a handler adds notes faster than the database can store them
├── PublishFailed             Pub/Sub did not take a batch
│   └── PublishRefused        it refuses a message of that batch
├── CloudRunUnavailable       Cloud Run did not answer, or refused for a transient reason
├── CloudRunRefused           Cloud Run refuses to execute a job as it is
├── OrchestrationNotFound     no orchestration has this id
├── RequestRefused            a producer's or operator's request that contradicts what is stored
├── RetryLater                raised by a handler: not now, try again
└── GiveUp                    raised by a handler: never, do not try again
Stopped (a BaseException)     raised inside a handler at a stop point: the worker drains or the claim is lost
"""

from __future__ import annotations

from datetime import timedelta


class HeadcountError(Exception):
    """Anything that Headcount itself reports."""


class StartupError(HeadcountError):
    """Why the worker does not start, and the one command that fixes it."""

    def __init__(self, problem: str, fix: str | None = None) -> None:
        super().__init__(f"{problem} Fix it with: {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix


class SettingsInvalid(StartupError):
    """One or more settings are missing, unknown or malformed; all of them are named at once."""


class HandlersInvalid(StartupError):
    """The handler package can't be imported, or a handler in it can't be used."""


class DatabaseNotReady(StartupError):
    """The database can't be reached, or its schema is not at this release's migration."""


class SubscriptionNotReady(StartupError):
    """The topic or subscription is missing, or may not be used by this account."""


class DecodeError(HeadcountError):
    """A message breaks the contract of job messages; `reason` is a stable word, the text says what is wrong."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class StoreUnavailable(HeadcountError):
    """The database can't be reached, or refused for a transient reason."""


class WorkerNotFresh(HeadcountError):
    """The worker's own heartbeat is older than half of worker_ttl, so it may not claim."""


class WorkerGone(HeadcountError):
    """The worker's row was deleted: another worker declared it dead and rescued its jobs."""


class SlotsExhausted(HeadcountError):
    """Handlers that run in threads occupy half of the slots after they were asked to stop; only an exit ends them."""

    def __init__(self, stuck: int, slots: int) -> None:
        super().__init__(
            f"{stuck} of {slots} slots are held by threads that went on after they were told to stop; the worker drains"
            " and exits. Such handlers should look at ctx.should_stop, or use timeouts in what they call."
        )


class ClaimLost(HeadcountError):
    """This attempt no longer owns its job; whatever it writes from now on is refused."""


class ResultNotStorable(HeadcountError):
    """A value is not JSON that Postgres can hold: NaN, a NUL character, a lone surrogate, or too large."""


class InvalidStep(HeadcountError):
    """A durable step that could not be told from another one: its name is taken, or it runs within or beside one."""


class StepsChanged(HeadcountError):
    """The steps that a job has recorded are not those of its handler: one was renamed, removed, moved or inserted."""


class TooManyNotes(HeadcountError):
    """A job has 1,000 notes or 256 kB of them that are not stored yet; this one was not taken, the others are kept."""


class PublishFailed(HeadcountError):
    """Pub/Sub did not confirm a batch; it may have arrived, and will be published again."""


class PublishRefused(PublishFailed):
    """Pub/Sub refuses a batch for what it holds: at least one message of it can't be published as it is."""


class CloudRunUnavailable(HeadcountError):
    """Cloud Run did not answer, or not for a lasting reason; what was asked for may have taken effect."""


class CloudRunRefused(HeadcountError):
    """Cloud Run refuses: the Cloud Run Job does not exist, may not be executed, or not with these overrides."""


class OrchestrationNotFound(HeadcountError):
    """No orchestration has this id."""


class RequestRefused(HeadcountError):
    """A request contradicts what is already stored, or breaks a limit; nothing was changed."""


class RetryLater(HeadcountError):
    """Raise it in a handler to end this attempt and run again after `after`; it counts against max_attempts."""

    def __init__(self, reason: str = "", *, after: timedelta | float | None = None) -> None:
        super().__init__(reason or "the handler asked to be run again later")
        self.after = after.total_seconds() if isinstance(after, timedelta) else after


class GiveUp(HeadcountError):
    """Raise it in a handler to end the job as Errored at once, whatever its retry policy says."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler gave up")


class Stopped(BaseException):
    """The handler was asked to stop and reached a stop point; its job goes on elsewhere from its last checkpoint.

    A BaseException, so that an `except Exception` in a handler does not swallow it.
    """
