"""Explicit-state model of one job that waits for a signal: look, park, signal, wake-up, timeout and rescue.

One transaction is one atomic step. A wait is two: it locks the job, looks for a signal and reads how many were counted;
then the attempt ends and parks the job. So is a signal: it is stored, then counted on the job's row, which dates the
job if it waits. Between steps anything may happen for which there is a budget. Each rule can be broken alone; the
tests say which harm that does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from tests.model.exploration import Graph, explored

NOBODY = 0
DUE, LATER = 1, 2  # of a job's date; 0 is none


@dataclass(frozen=True)
class Rules:
    """What the protocol asks for; False breaks it."""

    look_reads_after_the_lock: bool = True
    park_compares_the_count: bool = True
    park_is_fenced: bool = True
    parked_jobs_are_dated: bool = True
    signal_is_stored_before_it_is_counted: bool = True
    signal_is_stored_once: bool = True
    stored_signals_are_counted_by_the_fleet: bool = True
    repeated_signals_are_counted_again: bool = True


@dataclass(frozen=True)
class Budget:
    """How often each thing may happen: a signal is sent, its sender dies, a worker dies."""

    sends: int = 0
    dead_senders: int = 0
    crashes: int = 0


@dataclass(frozen=True)
class Task:
    """An attempt (`look`, `locked`, `park`, `end`) or a sender (`store`, `count`)."""

    phase: str
    attempt: int = 0
    seen: int = 0
    found: bool = False


@dataclass(frozen=True)
class State:
    """The row of the job, the signals that are stored, and what is under way. `counted` is the row's `signals`."""

    budget: Budget
    attempt: int = 0
    holder: int = NOBODY  # the attempt that has the claim
    date: int = DUE
    parked: bool = False
    done: bool = False
    counted: int = 0
    stored: int = 0
    uncounted: bool = False
    tasks: tuple[Task, ...] = ()

    def task(self, old: Task | None, new: Task | None) -> State:
        left = list(self.tasks)
        if old is not None:
            left.remove(old)
        if new is not None:
            left.append(new)
        return replace(self, tasks=tuple(sorted(left, key=repr)))

    def spend(self, what: str) -> State:
        return replace(self, budget=replace(self.budget, **{what: getattr(self.budget, what) - 1}))


def steps(rules: Rules, state: State) -> Iterator[tuple[str, bool, State]]:
    """What may happen next: its name, whether it is fair (it happens sooner or later), and the state after it."""
    if state.date == LATER:
        yield "the job is due", True, replace(state, date=DUE)
    if state.date == DUE and state.holder == NOBODY and not state.done:
        number = state.attempt + 1
        claimed = replace(state, attempt=number, holder=number, date=0, parked=False)
        yield f"attempt {number} begins", True, claimed.task(None, Task("look", number))
    for task in state.tasks:
        yield from _attempt(rules, state, task) if task.attempt else _sender(rules, state, task)
    if state.budget.sends:
        first = "store" if rules.signal_is_stored_before_it_is_counted else "count"
        yield "a signal is sent", True, state.spend("sends").task(None, Task(first))
    if state.uncounted and rules.stored_signals_are_counted_by_the_fleet:
        yield "the fleet counts a signal", True, _counted(state)
    if state.budget.crashes and state.holder:
        yield "the worker is lost", False, replace(state.spend("crashes"), holder=NOBODY, date=DUE)


def _attempt(rules: Rules, state: State, task: Task) -> Iterator[tuple[str, bool, State]]:
    name, number = f"attempt {task.attempt}", task.attempt
    if task.phase == "look":
        if not rules.look_reads_after_the_lock:
            yield (
                f"{name} has a snapshot",
                True,
                state.task(task, replace(task, phase="locked", found=state.stored > 0)),
            )
        else:
            yield f"{name} looks", True, _looked(state, task, state.stored > 0)
    elif task.phase == "locked":
        yield f"{name} looks", True, _looked(state, task, task.found)
    elif state.holder != number and (task.phase == "end" or rules.park_is_fenced):
        yield f"{name} is refused", True, state.task(task, None)
    elif task.phase == "end":
        yield f"{name} completes", True, replace(state, done=True, holder=NOBODY, date=0).task(task, None)
    else:
        parks = not rules.park_compares_the_count or state.counted == task.seen
        later = LATER if rules.parked_jobs_are_dated else 0
        parked = replace(state, holder=NOBODY, date=later if parks else DUE, parked=parks)
        yield f"{name} parks", True, parked.task(task, None)


def _looked(state: State, task: Task, found: bool) -> State:
    """Under the lock of the job's row; a second attempt that finds nothing is told that the time is up."""
    if state.holder != task.attempt:
        return state.task(task, None)
    if found or task.attempt > 2:
        return state.task(task, Task("end", task.attempt))
    return state.task(task, Task("park", task.attempt, seen=state.counted))


def _sender(rules: Rules, state: State, task: Task) -> Iterator[tuple[str, bool, State]]:
    early = not rules.signal_is_stored_before_it_is_counted
    if task.phase == "store":
        again = state.stored > 0
        count = 1 if rules.signal_is_stored_once else state.stored + 1
        known = again and not rules.repeated_signals_are_counted_again
        after = replace(state, stored=count, uncounted=state.uncounted or not (again or early))
        yield "a signal is stored", True, after.task(task, None if early or known else Task("count"))
    else:
        counted = _counted(state)
        if early:
            counted = replace(counted, uncounted=state.uncounted)
        yield "a signal is counted", True, counted.task(task, Task("store") if early else None)
    if state.budget.dead_senders:
        yield "its sender dies", False, state.spend("dead_senders").task(task, None)


def _counted(state: State) -> State:
    """Under the lock of the job's row: one more, and the job is due if it waits."""
    date = DUE if state.parked and not state.done else state.date
    return replace(state, counted=min(state.counted + 1, 3), uncounted=False, date=date)


def explore(rules: Rules, first: State) -> Graph[State]:
    """Every state that can be reached, with what may follow it."""
    return explored(first, partial(steps, rules), limit=200_000, within=lambda state: state.attempt <= 5)


def forgotten(rules: Rules, state: State) -> bool:
    """Whether the job waits although its signal is stored, and nothing but its safety date will wake it."""
    under_way = any(not task.attempt for task in state.tasks) or state.holder != NOBODY
    fleet = state.uncounted and rules.stored_signals_are_counted_by_the_fleet
    return state.parked and state.date != DUE and state.stored > 0 and not under_way and not fleet


def stuck(graph: Graph[State]) -> bool:
    """Whether the job can come to a state from which nothing more happens, and is not done."""
    return any(not state.done and not any(fair for fair, _ in following) for state, following in graph.items())


def parked_while_it_runs(state: State) -> bool:
    """Whether a job is free although its newest attempt goes on."""
    runs = any(task.attempt == state.attempt and task.phase != "park" for task in state.tasks)
    return runs and state.parked
