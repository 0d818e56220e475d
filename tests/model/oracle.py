"""The protocol in a hundred lines of plain Python: what every operation must answer and leave behind.

Used as the oracle of the tests beside it, and as the rows of the fake store. It knows no SQL, no transaction and no
clock: an operation happens at once, and time passes only when it is told to. Where the store and this disagree, one of
them is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from daemon.job import Action, Claim, JobError, Kind, Refusal, Refused, Settled, Settlement, Status
from daemon.orchestration import Outcome


@dataclass
class Whole:
    """An orchestration."""

    id: UUID
    total: int
    registered: bool = False
    generation: int = 1
    completed: int = 0
    errored: int = 0
    finishes: int = 0
    event_published: bool = False
    reopening: int | None = None

    @property
    def complete(self) -> bool:
        return self.completed + self.errored == self.total and self.reopening is None


@dataclass
class One:
    """A job. `ended` says how each attempt that did not complete ended: by whose hand, and as what.

    `came` says whether its params are known: False for one that was ended before its message came.
    """

    id: UUID
    whole: Whole
    index: int
    status: Status | None = None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    worker: UUID | None = None
    occupied: UUID | None = None
    early: bool = False
    finish_number: int | None = None
    reopened: int = 0
    came: bool = True
    ended: dict[int, tuple[UUID | None, Kind]] = field(default_factory=dict)

    @property
    def unfinished(self) -> bool:
        return self.status is Status.IN_PROGRESS

    @property
    def free(self) -> bool:
        return self.unfinished and self.worker is None


Job = TypeVar("Job", bound=One)


class Oracle(Generic[Job]):
    """All jobs, and the answers that are due."""

    def __init__(self, jobs: Iterable[Job], max_worker_losses: int) -> None:
        self.jobs = {job.id: job for job in jobs}
        self._max_losses = max_worker_losses

    def of(self, whole: Whole) -> list[Job]:
        return sorted((job for job in self.jobs.values() if job.whole is whole), key=lambda job: job.id)

    def runs(self, job_id: UUID, worker: UUID, attempt: int) -> bool:
        """Whether that worker holds that attempt."""
        job = self.jobs[job_id]
        return job.unfinished and (job.worker, job.attempt) == (worker, attempt)

    def held_by(self, worker: UUID) -> list[Job]:
        return sorted((job for job in self.jobs.values() if job.worker == worker), key=lambda job: job.id)

    def vacate(self, worker: UUID) -> list[UUID]:
        """The handlers of what was ended from outside have ended; which jobs."""
        occupied = [job for job in self.jobs.values() if job.occupied == worker]
        for job in occupied:
            job.occupied = None
        return sorted(job.id for job in occupied)

    def kick_off(self, whole: Whole) -> None:
        whole.registered = True
        for job in self.of(whole):
            job.status = Status.IN_PROGRESS

    def claim(self, job: Job, worker: UUID, creates: bool) -> int | Refusal | None:
        """The attempt, why not, or None: a message that points at nothing."""
        if job.status is None:
            if not creates:
                return None
            job.status, job.came, job.whole.registered = Status.IN_PROGRESS, True, True
        elif not job.unfinished:
            job.came = job.came or creates
            return Refusal.FINISHED
        elif job.worker is not None:
            return Refusal.CLAIMED
        elif job.early or job.occupied is not None:
            return Refusal.NOT_DUE
        job.attempt, job.worker, job.early = job.attempt + 1, worker, False
        return job.attempt

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Answers in the order of the settlements. Those of one job happen in that order, the others by id."""
        answers: dict[int, Settled] = {}
        turns: list[tuple[int, UUID, int]] = []
        for number, one in enumerate(settlements):
            turn = sum(1 for _, job, _ in turns if job == one.job_id)
            turns.append((turn, one.job_id, number))
        for _, _, number in sorted(turns):
            answers[number] = self._settle_one(settlements[number])
        return [answers[number] for number in range(len(settlements))]

    def _settle_one(self, one: Settlement) -> Settled:
        job = self.jobs[one.job_id]
        if job.unfinished and (job.attempt, job.worker) == (one.attempt, one.worker_id):
            self._apply(job, one)
            return Settled.STORED
        if one.action is Action.COMPLETE:
            stored = job.status is Status.COMPLETED and job.attempt == one.attempt
        else:
            assert one.error is not None
            stored = job.ended.get(one.attempt) == (one.worker_id, one.error.kind)
        return Settled.STORED if stored else Settled.STALE

    def _apply(self, job: Job, one: Settlement) -> None:
        if one.error is not None and job.worker is not None:
            assert job.attempt not in job.ended, "an attempt ends once"
            job.ended[job.attempt] = (job.worker, one.error.kind)
        job.worker = None
        job.failures += one.counts_as_failure
        job.losses += one.counts_as_loss
        job.early = one.action is Action.RETRY and one.delay > 0
        if one.action in (Action.COMPLETE, Action.FAIL, Action.CLOSE):
            self._finish(job, Status.COMPLETED if one.action is Action.COMPLETE else Status.ERRORED)

    def _finish(self, job: Job, status: Status) -> None:
        whole = job.whole
        whole.finishes += 1
        job.status, job.finish_number = status, whole.finishes
        whole.completed += status is Status.COMPLETED
        whole.errored += status is Status.ERRORED

    def _take(self, job: Job, kind: Kind, *, lost: bool, final: bool) -> None:
        action = Action.FAIL if final else Action.INTERRUPT
        error = JobError(kind, "")
        self._apply(job, Settlement(job.id, job.worker, job.attempt, action, error=error, counts_as_loss=lost))

    def die(self, worker: UUID, draining: bool) -> None:
        """Its jobs are taken back: a loss each, unless it was draining. Those lost before start again apart."""
        apart = [job for job in self.held_by(worker) if not draining and job.losses + 2 >= min(self._max_losses, 3)]
        for job in self.held_by(worker):
            final = not draining and job.losses + 1 >= self._max_losses
            self._take(job, Kind.INTERRUPTED if draining else Kind.WORKER_LOST, lost=not draining, final=final)
            job.early = job in apart[1:] and not final
        self.vacate(worker)

    def leave(self, worker: UUID) -> int:
        """Its last transaction gives everything back; how many."""
        held = self.held_by(worker)
        for job in held:
            self._take(job, Kind.INTERRUPTED, lost=False, final=False)
        self.vacate(worker)
        return len(held)

    def end_unfinished(self, whole: Whole, kind: Kind) -> int:
        """Cancel and deadline: what is unborn is born for it. How many ended."""
        whole.reopening = None
        open_ones = [job for job in self.of(whole) if job.status is None or job.unfinished]
        for job in open_ones:
            job.came = job.status is not None
            job.occupied = job.worker or job.occupied
            job.status = Status.IN_PROGRESS
            self._take(job, kind, lost=False, final=True)
        return len(open_ones)

    def retry_failed(self, whole: Whole) -> int | None:
        """How many run again, those whose message has yet to come included; None when it is refused."""
        begun = self.begin_retry(whole)
        if begun:
            while self.reopen_next(whole):
                pass
            self.end_retry(whole)
        return begun

    def begin_retry(self, whole: Whole) -> int | None:
        """A new generation that can't complete yet. How many are to run again; None when it is refused."""
        if not whole.complete or not whole.event_published:
            return None
        if whole.errored:
            whole.reopening, whole.generation, whole.event_published = whole.finishes, whole.generation + 1, False
        return whole.errored

    def reopen_next(self, whole: Whole) -> bool:
        """Reopen one instance that failed in the generation before; False when there is none, or a cancel came."""
        failed = [job for job in self.of(whole) if job.status is Status.ERRORED and job.finish_number is not None]
        left = [job for job in failed if whole.reopening is not None and (job.finish_number or 0) <= whole.reopening]
        if not left:
            return False
        job = min(left, key=lambda job: job.finish_number or 0)
        job.finish_number, whole.errored = None, whole.errored - 1
        if not job.came:
            job.status, job.occupied = None, None
        else:
            job.status, job.attempt, job.reopened = Status.IN_PROGRESS, job.attempt + 1, job.reopened + 1
            job.failures = job.losses = 0
        return True

    def end_retry(self, whole: Whole) -> None:
        """It may complete from here on."""
        whole.reopening = None

    def due(self) -> set[UUID]:
        """What a relay publishes now."""
        return {job.id for job in self.jobs.values() if job.free and not job.early}

    def time_passes(self) -> None:
        """Every pause before a retry is over."""
        for job in self.jobs.values():
            job.early = False


def outcome_of(completed: int, errored: int) -> Outcome:
    """How an orchestration ended whose every instance has left InProgress."""
    if errored == 0:
        return Outcome.COMPLETED
    return Outcome.PARTIAL if completed else Outcome.ERRORED


def said(answer: object) -> object:
    """A store's answer to a claim, in the words of the oracle."""
    if isinstance(answer, Claim):
        return answer.attempt
    return answer.why if isinstance(answer, Refused) else None
