"""What handlers report while they run: progress, notes and checkpoints, each under the fence.

Called by the context of every running handler. Progress and notes are submitted about twice a second; the last ones of
an attempt are written before its settlement, because after it the fence refuses them. Nothing is dropped for an outage
or a missing table, and a job that reports too much is told so, at the cost of nobody else's notes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import anyio
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.errors import TooManyNotes
from daemon.job import Claim, Progress
from daemon.observe import Observer
from daemon.postgres.group_commit import GroupCommit
from daemon.postgres.statements import progress as sql

NOTES_LIMIT = 1_000
NOTE_BYTES_LIMIT = 256 * 1024
HARD_FACTOR = 2  # a handler that does not await its notes is stopped here, also while the database is unavailable


@dataclass(slots=True, eq=False)
class Pending:
    """What one attempt has reported and is not stored yet. Any thread adds notes; the rest belongs to the loop."""

    claim: Claim
    progress: Progress | None = None
    texts: deque[str] = field(default_factory=deque)
    notes: int = 0  # those that are submitted included
    bytes: int = 0
    stored: int = 0  # how many of its notes are
    moving: bool = False  # a progress is submitted
    submitted: set[asyncio.Future[None]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, notes: int, size: int) -> None:
        """Count what is pending. Any thread."""
        with self.lock:
            self.notes += notes
            self.bytes += size

    def is_half_full(self) -> bool:
        """Whether to submit it now rather than at the next flush; true once each time that half is reached."""
        return self.notes >= NOTES_LIMIT // 2 and len(self.texts) % (NOTES_LIMIT // 4) == 0

    def is_over(self, factor: int = 1) -> bool:
        """Whether it has reached its bound, or that many times its bound."""
        return self.notes >= NOTES_LIMIT * factor or self.bytes >= NOTE_BYTES_LIMIT * factor


Item = tuple[Pending, Progress | str]
Checkpoint = tuple[Claim, str]


class ProgressBuffer:
    """The Recorder of every running handler of this worker. Made on the event loop."""

    def __init__(
        self, engine: AsyncEngine, observer: Observer, on_unavailable: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._loop = asyncio.get_running_loop()
        self._pending: dict[tuple[UUID, int], Pending] = {}
        self._unsure_if_written = False  # the last write may have taken effect although it failed
        self._items: GroupCommit[Item, None] = GroupCommit(
            "record", self._write, observer, size_of=lambda item: _size(item[1]), on_unavailable=on_unavailable
        )
        self._checkpoints: GroupCommit[Checkpoint, bool] = GroupCommit(
            "checkpoint",
            self._write_checkpoints,
            observer,
            size_of=lambda item: len(item[1]),
            on_unavailable=on_unavailable,
        )

    def progress(self, claim: Claim, progress: Progress) -> None:
        """Remember the newest progress of an attempt. Any thread."""
        self._of(claim).progress = progress

    def note(self, claim: Claim, text: str) -> bool:
        """Remember a note. Any thread. True when its attempt should wait for `has_room` before the next one.

        Raises TooManyNotes, without taking the note, when the attempt is over its bound while the database answers,
        or at twice its bound.
        """
        pending = self._of(claim)
        over = pending.is_over()
        if over and (not self._items.slow or pending.is_over(HARD_FACTOR)):
            raise TooManyNotes(
                f"job {claim.job_id} has {pending.notes} notes ({pending.bytes} bytes) that are not stored yet"
            )
        pending.add(1, _size(text))
        pending.texts.append(text)
        if pending.is_half_full():
            with suppress(RuntimeError):  # a thread outlived the loop: its attempt is over
                self._loop.call_soon_threadsafe(self._submit, pending)
        return over

    def has_room(self, claim: Claim) -> bool:
        """Whether an attempt may add a note without waiting."""
        return not self._of(claim).is_over()

    async def save(self, claim: Claim, checkpoint: str) -> bool:
        """Store a checkpoint; False when the attempt has lost its claim."""
        return await self._checkpoints.submit((claim, checkpoint))

    async def run(self) -> None:
        """Write until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._items.run)
            tasks.start_soon(self._checkpoints.run)

    @property
    def unavailable(self) -> bool:
        """Whether anything here waits for the database to answer again."""
        return self._items.unavailable or self._checkpoints.unavailable

    async def flush(self) -> None:
        """Have everything written that was reported so far; returns when it is."""
        waiting = [answer for pending in list(self._pending.values()) for answer in self._submit(pending)]
        if waiting:
            await asyncio.wait(waiting)

    def pending(self, claim: Claim) -> bool:
        """Whether an attempt has reported anything; false again after `flush_for`."""
        return (claim.job_id, claim.attempt) in self._pending

    async def flush_for(self, claim: Claim) -> None:
        """Write what this attempt has reported, before it is settled. Waits for the database."""
        pending = self._of(claim)
        while waiting := self._submit(pending):
            await asyncio.wait(waiting)
        del self._pending[claim.job_id, claim.attempt]

    def _of(self, claim: Claim) -> Pending:
        key = (claim.job_id, claim.attempt)
        return self._pending.get(key) or self._pending.setdefault(key, Pending(claim))

    def _submit(self, pending: Pending) -> set[asyncio.Future[None]]:
        """Submit what an attempt has reported; the answers that it waits for."""
        while pending.texts:
            self._submit_item(pending, pending.texts.popleft())
        # One progress at a time, the newest: an outage must not pile them up.
        if pending.progress is not None and not pending.moving:
            progress, pending.progress, pending.moving = pending.progress, None, True
            self._submit_item(pending, progress)
        return set(pending.submitted)

    def _submit_item(self, pending: Pending, item: Progress | str) -> None:
        def written(answer: asyncio.Future[None]) -> None:
            pending.submitted.discard(answer)
            if not answer.cancelled():
                answer.exception()  # what can't be stored was reported by the group commit
            if isinstance(item, str):
                pending.add(-1, -_size(item))
            else:
                pending.moving = False

        answer = self._items.submit((pending, item))
        pending.submitted.add(answer)
        answer.add_done_callback(written)

    async def _write(self, items: list[Item]) -> list[None]:
        newest = {
            (pending.claim.job_id, pending.claim.attempt): (pending.claim, item)
            for pending, item in items
            if isinstance(item, Progress)
        }
        rows = [newest[key] for key in sorted(newest)]
        progress = {
            "currents": _floats(item.current for _, item in rows),
            "totals": _floats(item.total for _, item in rows),
            "messages": [item.message for _, item in rows],
        }
        notes = [(pending, item) for pending, item in items if isinstance(item, str)]
        last: dict[Pending, int] = {}
        numbers = []
        for pending, _ in notes:
            last[pending] = last.get(pending, pending.stored) + 1
            numbers.append(last[pending])
        texts = {"texts": [text for _, text in notes], "numbers": numbers, "again": self._unsure_if_written}
        self._unsure_if_written = True
        async with self._engine.connect() as connection:
            if rows:
                await connection.execute(sql.UPDATE_PROGRESS, _fence([claim for claim, _ in rows]) | progress)
            if notes:
                await connection.execute(sql.INSERT_NOTES, _fence([pending.claim for pending, _ in notes]) | texts)
        self._unsure_if_written = False
        for pending, number in last.items():
            pending.stored = number
        return [None] * len(items)

    async def _write_checkpoints(self, items: list[Checkpoint]) -> list[bool]:
        newest = {(claim.job_id, claim.attempt): (claim, text) for claim, text in items}
        rows = [newest[key] for key in sorted(newest)]
        values = _fence([claim for claim, _ in rows]) | {"checkpoints": [text for _, text in rows]}
        async with self._engine.connect() as connection:
            stored = {(row.id, row.attempt) for row in await connection.execute(sql.UPDATE_CHECKPOINTS, values)}
        return [(claim.job_id, claim.attempt) in stored for claim, _ in items]


def _size(item: Progress | str) -> int:
    text = item if isinstance(item, str) else item.message or ""
    return len(text.encode(errors="replace"))


def _floats(numbers: Iterable[float | None]) -> list[float | None]:
    """The driver refuses a list in which ints and floats are mixed."""
    return [None if number is None else float(number) for number in numbers]


def _fence(claims: Sequence[Claim]) -> dict[str, object]:
    return {
        "ids": [claim.job_id for claim in claims],
        "workers": [claim.worker_id for claim in claims],
        "attempts": [claim.attempt for claim in claims],
    }
