"""What handlers say while they run: progress, notes and checkpoints, each under the fence.

Called by the context of every running handler. Progress and notes are gathered and written together about twice a
second; a job's last words are written before its settlement, because after it the fence refuses them. Whatever happens
to words, they must never change how their job ends: an outage is waited for, and what can't be stored is dropped alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from daemon.job import Claim, Progress
from daemon.observe import Observer
from daemon.postgres.database import is_bad_item, passes
from daemon.postgres.group_commit import FIRST_PAUSE, LONGEST_PAUSE, GroupCommit
from daemon.postgres.statements import settle as sql

Checkpoint = tuple[Claim, str]
Words = tuple[Claim, Progress | str]
Attempt = tuple[UUID, int]
NOTES_KEPT = 10_000


class Records:
    """The Recorder of every running handler of this worker."""

    def __init__(self, engine: AsyncEngine, observer: Observer) -> None:
        self._observer = observer
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._progress: dict[tuple[UUID, int], tuple[Claim, Progress]] = {}
        self._notes: deque[tuple[Claim, str]] = deque(maxlen=NOTES_KEPT)
        self._noted: Counter[Attempt] = Counter()  # how many notes of each running attempt are written
        self._doubtful = False  # the last write may have taken effect although it failed
        self._flushing = asyncio.Lock()
        self._checkpoints: GroupCommit[Checkpoint, bool] = GroupCommit(
            "checkpoint", self._write_checkpoints, observer, weigh=lambda item: len(item[1])
        )

    def progress(self, claim: Claim, progress: Progress) -> None:
        """Remember the newest progress of an attempt. Any thread."""
        self._progress[claim.job_id, claim.attempt] = (claim, progress)

    def note(self, claim: Claim, text: str) -> None:
        """Remember a note. Any thread."""
        self._notes.append((claim, text))

    async def save(self, claim: Claim, checkpoint: str) -> bool:
        """Store a checkpoint; False when the attempt has lost its claim."""
        return await self._checkpoints.submit((claim, checkpoint))

    async def run(self) -> None:
        """Write checkpoints for ever; ends by cancellation."""
        await self._checkpoints.run()

    async def flush(self) -> None:
        """Write what is gathered. Raises what the database raises; what was not written is gathered again."""
        async with self._flushing:
            words: list[Words] = [*self._take_progress().values(), *self._take_notes()]
            if not words:
                return
            written: set[int] = set()
            try:
                await self._write_or_split(words, written)
            except Exception:
                self._doubtful = True
                left = [one for one in words if id(one) not in written]
                for claim, one in _progress(left):
                    self._progress.setdefault((claim.job_id, claim.attempt), (claim, one))
                self._notes.extendleft(reversed(_notes(left)))
                raise
            self._doubtful = False

    @property
    def has_words(self) -> bool:
        """Whether any attempt has said something that is not yet written."""
        return bool(self._progress or self._notes or self._noted) or self._flushing.locked()

    async def last_words(self, claim: Claim) -> None:
        """Write what this attempt has said and is not yet written, before it is settled. Never raises."""
        pause = FIRST_PAUSE
        while self._flushing.locked() or self._has_said(claim):
            try:
                await self.flush()
            except Exception as error:
                if not passes(error):
                    self._observer.refused_item("record", error)
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        self._noted.pop((claim.job_id, claim.attempt), None)

    def _has_said(self, claim: Claim) -> bool:
        # The copy is made in one step: threads may add notes meanwhile.
        notes = list(self._notes)
        return (claim.job_id, claim.attempt) in self._progress or any(one.job_id == claim.job_id for one, _ in notes)

    def _take_progress(self) -> dict[tuple[UUID, int], tuple[Claim, Progress]]:
        taken, self._progress = self._progress, {}
        return taken

    def _take_notes(self) -> list[tuple[Claim, str]]:
        return [self._notes.popleft() for _ in range(len(self._notes))]

    async def _write_or_split(self, words: list[Words], written: set[int]) -> None:
        try:
            await self._write(_progress(words), _notes(words))
        except Exception as error:
            if not is_bad_item(error):
                raise
            if len(words) == 1:
                self._observer.refused_item("record", error)
                return
            middle = len(words) // 2
            await self._write_or_split(words[:middle], written)
            await self._write_or_split(words[middle:], written)
        else:
            written.update(id(one) for one in words)

    async def _write(self, progress: list[tuple[Claim, Progress]], notes: list[tuple[Claim, str]]) -> None:
        async with self._engine.connect() as connection:
            if progress:
                progress.sort(key=lambda pair: pair[0].job_id)
                says = [one for _, one in progress]
                await connection.execute(
                    sql.PROGRESS,
                    _fence([claim for claim, _ in progress])
                    | {
                        "currents": _floats(one.current for one in says),
                        "totals": _floats(one.total for one in says),
                        "messages": [one.message for one in says],
                    },
                )
            if notes:
                await self._write_notes(connection, notes)

    async def _write_notes(self, connection: AsyncConnection, notes: list[tuple[Claim, str]]) -> None:
        noted, numbers = self._noted.copy(), []
        for claim, _ in notes:
            noted[claim.job_id, claim.attempt] += 1
            numbers.append(noted[claim.job_id, claim.attempt])
        texts = {"texts": [text for _, text in notes], "numbers": numbers, "again": self._doubtful}
        await connection.execute(sql.NOTES, _fence([claim for claim, _ in notes]) | texts)
        self._noted = noted

    async def _write_checkpoints(self, items: list[Checkpoint]) -> list[bool]:
        newest = {(claim.job_id, claim.attempt): (claim, text) for claim, text in items}
        rows = [newest[key] for key in sorted(newest)]
        async with self._engine.connect() as connection:
            written = await connection.execute(
                sql.CHECKPOINTS, _fence([claim for claim, _ in rows]) | {"checkpoints": [text for _, text in rows]}
            )
            stored = {(row.id, row.attempt) for row in written}
        return [(claim.job_id, claim.attempt) in stored for claim, _ in items]


def _progress(words: Sequence[Words]) -> list[tuple[Claim, Progress]]:
    return [(claim, said) for claim, said in words if isinstance(said, Progress)]


def _notes(words: Sequence[Words]) -> list[tuple[Claim, str]]:
    return [(claim, said) for claim, said in words if isinstance(said, str)]


def _floats(numbers: Iterable[float | None]) -> list[float | None]:
    """The driver refuses a list in which ints and floats are mixed."""
    return [None if number is None else float(number) for number in numbers]


def _fence(claims: list[Claim]) -> dict[str, object]:
    return {
        "ids": [claim.job_id for claim in claims],
        "workers": [claim.worker_id for claim in claims],
        "attempts": [claim.attempt for claim in claims],
    }
