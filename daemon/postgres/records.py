"""What handlers say while they run: progress, notes and checkpoints, each under the fence.

Called by the context of every running handler. Progress and notes are handed to their lane about twice a second; a
job's last words are written before its settlement, because after it the fence refuses them. Nothing is dropped for an
outage or a missing table, and a job that says too much is told so, at the cost of nobody else's notes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from uuid import UUID

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.errors import TooManyNotes
from daemon.job import Claim, Progress
from daemon.observe import Observer
from daemon.postgres.group_commit import GroupCommit
from daemon.postgres.statements import settle as sql

Checkpoint = tuple[Claim, str]
Attempt = tuple[UUID, int]
NOTES_LIMIT = 1_000
NOTE_BYTES_LIMIT = 256 * 1024
HARD_FACTOR = 2  # a handler that does not await its notes is stopped here, also while the database is away


class Unwritten:
    """What one attempt has said and is not yet stored; `noted` is how many of its notes are.

    `said` is filled from any thread and emptied on the loop; the rest belongs to the loop.
    """

    __slots__ = ("bytes", "claim", "lane", "lock", "moving", "noted", "notes", "progress", "said")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.progress: Progress | None = None
        self.said: deque[str] = deque()
        self.notes = 0  # those in the lane included
        self.bytes = 0
        self.noted = 0
        self.moving = False  # a progress is in the lane
        self.lane: set[asyncio.Future[None]] = set()
        self.lock = threading.Lock()

    def counts(self, notes: int, size: int) -> None:
        """Add to what is unwritten. Any thread."""
        with self.lock:
            self.notes += notes
            self.bytes += size

    def is_half_full(self) -> bool:
        """Whether to hand it over now rather than at the next flush; true once each time that half is reached."""
        return self.notes >= NOTES_LIMIT // 2 and len(self.said) % (NOTES_LIMIT // 4) == 0

    def is_over(self, factor: int = 1) -> bool:
        """Whether it has reached its bound, or that many times its bound."""
        return self.notes >= NOTES_LIMIT * factor or self.bytes >= NOTE_BYTES_LIMIT * factor


Words = tuple[Unwritten, Progress | str]


class Records:
    """The Recorder of every running handler of this worker. Made on the event loop."""

    def __init__(self, engine: AsyncEngine, observer: Observer, on_away: Callable[[bool], None] | None = None) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._loop = asyncio.get_running_loop()
        self._unwritten: dict[Attempt, Unwritten] = {}
        self._doubtful = False  # the last write may have taken effect although it failed
        self._words: GroupCommit[Words, None] = GroupCommit(
            "record", self._write_words, observer, weigh=_word_bytes, on_away=on_away
        )
        self._checkpoints: GroupCommit[Checkpoint, bool] = GroupCommit(
            "checkpoint", self._write_checkpoints, observer, weigh=lambda item: len(item[1]), on_away=on_away
        )

    def progress(self, claim: Claim, progress: Progress) -> None:
        """Remember the newest progress of an attempt. Any thread."""
        self._of(claim).progress = progress

    def note(self, claim: Claim, text: str) -> bool:
        """Remember a note. Any thread. True when its attempt should wait for `has_room` before it says more.

        Raises TooManyNotes, without taking the note, when the attempt is over its bound while the database answers,
        or at twice its bound.
        """
        unwritten = self._of(claim)
        over = unwritten.is_over()
        if over and (not self._words.late or unwritten.is_over(HARD_FACTOR)):
            raise TooManyNotes(
                f"job {claim.job_id} has {unwritten.notes} notes ({unwritten.bytes} bytes) that are not stored yet"
            )
        unwritten.counts(1, _size(text))
        unwritten.said.append(text)
        if unwritten.is_half_full():
            with suppress(RuntimeError):  # a thread outlived the loop: its attempt is over
                self._loop.call_soon_threadsafe(self._hand_over, unwritten)
        return over

    def has_room(self, claim: Claim) -> bool:
        """Whether an attempt may say more without waiting."""
        return not self._of(claim).is_over()

    async def save(self, claim: Claim, checkpoint: str) -> bool:
        """Store a checkpoint; False when the attempt has lost its claim."""
        return await self._checkpoints.submit((claim, checkpoint))

    async def run(self) -> None:
        """Write until cancelled."""
        async with anyio.create_task_group() as lanes:
            lanes.start_soon(self._words.run)
            lanes.start_soon(self._checkpoints.run)

    @property
    def away(self) -> bool:
        """Whether words or checkpoints wait for the database to come back."""
        return self._words.away or self._checkpoints.away

    async def flush(self) -> None:
        """Have everything written that was said so far; returns when it is."""
        waiting = [one for unwritten in list(self._unwritten.values()) for one in self._hand_over(unwritten)]
        if waiting:
            await asyncio.wait(waiting)

    def has_words(self, claim: Claim) -> bool:
        """Whether an attempt has said anything; false again after its last words."""
        return (claim.job_id, claim.attempt) in self._unwritten

    async def last_words(self, claim: Claim) -> None:
        """Write what this attempt has said and is not yet written, before it is settled. Waits for the database."""
        unwritten = self._of(claim)
        while waiting := self._hand_over(unwritten):
            await asyncio.wait(waiting)
        del self._unwritten[claim.job_id, claim.attempt]

    def _of(self, claim: Claim) -> Unwritten:
        key = (claim.job_id, claim.attempt)
        return self._unwritten.get(key) or self._unwritten.setdefault(key, Unwritten(claim))

    def _hand_over(self, unwritten: Unwritten) -> set[asyncio.Future[None]]:
        """Submit what was said; everything of this attempt that is now in the lane."""
        while unwritten.said:
            self._submit(unwritten, unwritten.said.popleft())
        # One progress at a time, the newest: an outage must not pile them up.
        if unwritten.progress is not None and not unwritten.moving:
            said, unwritten.progress, unwritten.moving = unwritten.progress, None, True
            self._submit(unwritten, said)
        return set(unwritten.lane)

    def _submit(self, unwritten: Unwritten, said: Progress | str) -> None:
        def written(answer: asyncio.Future[None]) -> None:
            unwritten.lane.discard(answer)
            if not answer.cancelled():
                answer.exception()  # what can't be stored was reported by the lane
            if isinstance(said, str):
                unwritten.counts(-1, -_size(said))
            else:
                unwritten.moving = False

        answer = self._words.submit((unwritten, said))
        unwritten.lane.add(answer)
        answer.add_done_callback(written)

    async def _write_words(self, words: list[Words]) -> list[None]:
        progress = {
            (one.claim.job_id, one.claim.attempt): (one.claim, said)
            for one, said in words
            if isinstance(said, Progress)
        }
        notes = [(one, said) for one, said in words if isinstance(said, str)]
        again, self._doubtful = self._doubtful, True
        async with self._engine.connect() as connection:
            if progress:
                await _write_progress(connection, [progress[key] for key in sorted(progress)])
            if notes:
                await _write_notes(connection, notes, again)
        self._doubtful = False
        return [None] * len(words)

    async def _write_checkpoints(self, items: list[Checkpoint]) -> list[bool]:
        newest = {(claim.job_id, claim.attempt): (claim, text) for claim, text in items}
        rows = [newest[key] for key in sorted(newest)]
        async with self._engine.connect() as connection:
            written = await connection.execute(
                sql.CHECKPOINTS, _fence([claim for claim, _ in rows]) | {"checkpoints": [text for _, text in rows]}
            )
            stored = {(row.id, row.attempt) for row in written}
        return [(claim.job_id, claim.attempt) in stored for claim, _ in items]


async def _write_progress(connection: AsyncConnection, rows: list[tuple[Claim, Progress]]) -> None:
    says = [said for _, said in rows]
    await connection.execute(
        sql.PROGRESS,
        _fence([claim for claim, _ in rows])
        | {
            "currents": _floats(one.current for one in says),
            "totals": _floats(one.total for one in says),
            "messages": [one.message for one in says],
        },
    )


async def _write_notes(connection: AsyncConnection, notes: list[tuple[Unwritten, str]], again: bool) -> None:
    noted: dict[Unwritten, int] = {}
    numbers = []
    for unwritten, _ in notes:
        noted[unwritten] = noted.get(unwritten, unwritten.noted) + 1
        numbers.append(noted[unwritten])
    texts = {"texts": [text for _, text in notes], "numbers": numbers, "again": again}
    await connection.execute(sql.NOTES, _fence([unwritten.claim for unwritten, _ in notes]) | texts)
    for unwritten, number in noted.items():
        unwritten.noted = number


def _word_bytes(word: Words) -> int:
    said = word[1]
    return _size(said) if isinstance(said, str) else _size(said.message or "")


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _floats(numbers: Iterable[float | None]) -> list[float | None]:
    """The driver refuses a list in which ints and floats are mixed."""
    return [None if number is None else float(number) for number in numbers]


def _fence(claims: list[Claim]) -> dict[str, object]:
    return {
        "ids": [claim.job_id for claim in claims],
        "workers": [claim.worker_id for claim in claims],
        "attempts": [claim.attempt for claim in claims],
    }
