"""Explicit-state model of a limit of one permit over two jobs: claim, park, release, wake-up, rescue, cancel, pause.

One transaction is one atomic step, but a claim and a settlement are two: what they read, and their COMMIT. Between
steps anything may happen for which there is a budget: a crash, a duplicate, a lost answer to a COMMIT, a failure, a
cancel. Each rule can be broken alone; the tests say which harm that does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from tests.model.exploration import Graph, explored

ROOM = 1
NOBODY = -1
LIMIT, PAUSE = "limit", "pause"  # what a parked job waits for
DUE, LATER = 1, 2  # of a job's date; 0 is none


@dataclass(frozen=True)
class Rules:
    """What the protocol asks for; False breaks it."""

    claim_locks_the_limit: bool = True
    a_permit_is_unique: bool = True
    settlement_releases: bool = True
    rescue_releases: bool = True
    parked_jobs_are_dated: bool = True
    occupied_jobs_keep_their_permit: bool = True
    wake_up_reads_after_the_release: bool = True
    keys_with_room_are_looked_for: bool = True
    resume_waits_for_claims: bool = True


@dataclass(frozen=True)
class Budget:
    """How often each fault may happen."""

    crashes: int = 0
    duplicates: int = 0
    lost_answers: int = 0
    failures: int = 0
    cancels: int = 0
    pauses: int = 0


@dataclass(frozen=True)
class Job:
    """A row. `permits` are its rows in the permit table; `parked` is what it waits for, dated in the future."""

    status: str = "InProgress"
    worker: int = NOBODY
    occupied_by: int = NOBODY
    date: int = LATER
    parked: str = ""
    permits: int = 0
    messages: int = 1

    @property
    def claimable(self) -> bool:
        return self.status == "InProgress" and self.worker == self.occupied_by == NOBODY and not self.parked


@dataclass(frozen=True)
class Task:
    """What a worker is doing: claim (decided, not committed), run, settle (read, not committed), release, wake."""

    worker: int
    job: int
    phase: str
    granted: bool = False
    paused: bool = False
    seen: tuple[int, ...] = ()


@dataclass(frozen=True)
class State:
    jobs: tuple[Job, ...]
    tasks: tuple[Task, ...]
    dead: tuple[int, ...]
    budget: Budget
    paused: bool = False

    @property
    def done(self) -> bool:
        return not self.tasks and all(job.status != "InProgress" and not job.permits for job in self.jobs)

    @property
    def room(self) -> int:
        return ROOM - sum(job.permits for job in self.jobs)

    def job(self, number: int, **changes: object) -> State:
        changed = replace(self.jobs[number], **changes)  # type: ignore[arg-type]
        return replace(self, jobs=(*self.jobs[:number], changed, *self.jobs[number + 1 :]))

    def task(self, old: Task | None, new: Task | None) -> State:
        left = list(self.tasks)
        if old is not None:
            left.remove(old)
        if new is not None:
            left.append(new)
        return replace(self, tasks=tuple(sorted(left, key=repr)))

    def spend(self, fault: str) -> State:
        return replace(self, budget=replace(self.budget, **{fault: getattr(self.budget, fault) - 1}))


def start(budget: Budget, jobs: int = 2) -> State:
    """Published jobs, two workers."""
    return State(jobs=(Job(),) * jobs, tasks=(), dead=(), budget=budget)


def steps(rules: Rules, state: State) -> Iterator[tuple[str, bool, State]]:
    """What may happen next: its name, whether it is fair (it happens sooner or later), and the state after it."""
    yield from _time_and_bus(state)
    yield from _claims(rules, state)
    yield from _ends(rules, state)
    yield from _faults(rules, state)
    yield from _pauses(rules, state)
    if rules.keys_with_room_are_looked_for and (woken := _wake(state, _waiting(state))) != state:
        yield "a key with room is found", True, woken


def _time_and_bus(state: State) -> Iterator[tuple[str, bool, State]]:
    for number, job in enumerate(state.jobs):
        if job.date == LATER:
            yield f"{number} is due", True, state.job(number, date=DUE, parked="")
        if job.date == DUE and not job.messages:
            yield f"{number} is published", True, state.job(number, date=LATER, messages=1)
        if job.messages == 1 and state.budget.duplicates:
            yield f"{number} is delivered again", False, state.spend("duplicates").job(number, messages=2)


def _claims(rules: Rules, state: State) -> Iterator[tuple[str, bool, State]]:
    claiming = [task for task in state.tasks if task.phase == "claim"]
    for number, job in enumerate(state.jobs):
        locked = any(task.job == number for task in claiming) or (rules.claim_locks_the_limit and claiming)
        if job.messages and not locked:
            taken = state.job(number, messages=job.messages - 1)
            for worker in _living(state):
                granted = not state.paused and (state.room > 0 or job.permits > 0)
                new = Task(worker, number, "claim", granted, state.paused) if job.claimable else None
                yield f"{worker} reads {number}", True, taken.task(None, new)
    for task in claiming:
        yield from _commits(rules, state, task)


def _commits(rules: Rules, state: State, task: Task) -> Iterator[tuple[str, bool, State]]:
    number, job = task.job, state.jobs[task.job]
    if job.status != "InProgress":  # cancelled between the two: the claim's statement has waited and takes nothing
        yield f"{task.worker} gets nothing", True, state.task(task, None)
        return
    if not task.granted:
        date = LATER if rules.parked_jobs_are_dated else 0
        parked = state.job(number, date=date, parked=PAUSE if task.paused else LIMIT, permits=0)
        yield f"{task.worker} parks {number}", True, parked.task(task, None)
        return
    permits = 1 if rules.a_permit_is_unique else job.permits + 1
    stored = state.job(number, worker=task.worker, date=0, permits=permits)
    yield f"{task.worker} claims {number}", True, stored.task(task, replace(task, phase="run"))
    if state.budget.lost_answers:
        yield f"{task.worker} claims {number}, unanswered", False, stored.spend("lost_answers")


def _ends(rules: Rules, state: State) -> Iterator[tuple[str, bool, State]]:
    for task in state.tasks:
        number, job = task.job, state.jobs[task.job]
        if task.phase == "run":
            if job.worker == task.worker:
                yield f"{number} ends", True, state.task(task, replace(task, phase="settle", seen=_waiting(state)))
            else:  # it was ended from outside, or taken away
                freed = state
                if job.occupied_by == task.worker:
                    freed = state.job(number, occupied_by=NOBODY, permits=0)
                yield f"{number} has really ended", True, freed.task(task, replace(task, phase="wake"))
        elif task.phase == "settle":
            yield f"{number} is settled", True, _settled(rules, state, task, "Completed")
            if state.budget.failures:
                yield f"{number} is retried", False, _settled(rules, state.spend("failures"), task, "InProgress")
        elif task.phase == "release":
            yield f"{number} releases", True, state.job(number, permits=0).task(task, replace(task, phase="wake"))
        elif task.phase == "wake":
            yield "a waiter is woken", True, _wake(state, _waiting(state)).task(task, None)


def _settled(rules: Rules, state: State, task: Task, status: str) -> State:
    job = state.jobs[task.job]
    if job.worker != task.worker:
        return state.task(task, replace(task, phase="run"))  # too late: the fence refuses it
    permits = 0 if rules.settlement_releases else job.permits
    after = state.job(
        task.job, status=status, worker=NOBODY, permits=permits, date=DUE if status == "InProgress" else 0
    )
    if not rules.settlement_releases:
        return after.task(task, replace(task, phase="release", seen=()))
    if not rules.wake_up_reads_after_the_release:
        return _wake(after, task.seen).task(task, None)
    return after.task(task, replace(task, phase="wake", seen=()))


def _faults(rules: Rules, state: State) -> Iterator[tuple[str, bool, State]]:
    budget = state.budget
    if budget.crashes:
        for worker in _living(state):
            left = tuple(task for task in state.tasks if task.worker != worker)
            yield f"{worker} dies", False, replace(state.spend("crashes"), tasks=left, dead=(*state.dead, worker))
    for worker in state.dead:
        if (rescued := _rescued(rules, state, worker)) != state:
            (rescuer,) = _living(state)
            yield f"{worker} is rescued from", True, rescued.task(None, Task(rescuer, 0, "wake"))
    if budget.cancels:
        for number, job in enumerate(state.jobs):
            if job.status == "InProgress":
                held = job.worker != NOBODY
                permits = job.permits if held and rules.occupied_jobs_keep_their_permit else 0
                yield f"{number} is cancelled", False, state.spend("cancels").job(
                    number, status="Errored", worker=NOBODY, occupied_by=job.worker, date=0, parked="",
                    permits=permits,
                )  # fmt: skip


def _pauses(rules: Rules, state: State) -> Iterator[tuple[str, bool, State]]:
    if state.budget.pauses and not state.paused:
        yield "it is paused", False, replace(state.spend("pauses"), paused=True)
    parking = any(task.phase == "claim" and task.paused for task in state.tasks)
    if state.paused and not (rules.resume_waits_for_claims and parking):
        woken = [replace(job, date=DUE, parked="") if job.parked == PAUSE else job for job in state.jobs]
        yield "it is resumed", True, replace(state, paused=False, jobs=tuple(woken))


def _rescued(rules: Rules, state: State, worker: int) -> State:
    for number, job in enumerate(state.jobs):
        if worker in (job.worker, job.occupied_by):
            permits = 0 if rules.rescue_releases else job.permits
            date = DUE if job.status == "InProgress" else 0
            state = state.job(number, worker=NOBODY, occupied_by=NOBODY, date=date, permits=permits)
    return state


def _living(state: State) -> list[int]:
    return [worker for worker in (0, 1) if worker not in state.dead]


def _waiting(state: State) -> tuple[int, ...]:
    return tuple(number for number, job in enumerate(state.jobs) if job.parked == LIMIT)


def _wake(state: State, waiting: tuple[int, ...]) -> State:
    for number in waiting[: max(state.room, 0)]:
        if state.jobs[number].parked == LIMIT:
            state = state.job(number, date=DUE, parked="")
    return state


def explore(rules: Rules, first: State) -> Graph[State]:
    """Every state that can be reached, with what may follow it."""
    return explored(first, partial(steps, rules), limit=400_000)


def unfinishable(graph: Graph[State]) -> list[State]:
    """The states from which fair steps alone do not lead to the end of everything."""
    before: dict[State, list[State]] = {}
    for state, following in graph.items():
        for fair, after in following:
            if fair:
                before.setdefault(after, []).append(state)
    reached = {state for state in graph if state.done}
    waiting = deque(reached)
    while waiting:
        for state in before.get(waiting.popleft(), ()):
            if state not in reached:
                reached.add(state)
                waiting.append(state)
    return [state for state in graph if state not in reached]


def too_many_at_once(state: State) -> bool:
    """Whether more handlers run on living workers than there are permits."""
    return sum(task.phase in ("run", "settle") for task in state.tasks) > ROOM


def forgotten(state: State) -> bool:
    """Whether a job waits for a permit that is free, and nothing but its safety date will wake it."""
    under_way = any(task.phase in ("wake", "claim", "settle", "run", "release") for task in state.tasks)
    return state.room > 0 and bool(_waiting(state)) and not under_way


def held_back_by_nothing(state: State) -> bool:
    """Whether a job waits for the end of a pause that is over, and nothing but its safety date will wake it."""
    return not state.paused and any(job.parked == PAUSE for job in state.jobs)
