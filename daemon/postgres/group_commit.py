"""Group commit: many callers await one item each, one task writes them together.

Everything that waits is written in one transaction, with no timer: at low load a batch is one, at high load it grows by
itself. Used by the store for claims, settlements, rejections, progress, notes and checkpoints. A batch that fails by
what it holds is split until only the bad item fails; any other failure (an outage, a missing table, a lost privilege)
is repeated whole, for as long as it takes, and counts as the database being away: no item is dropped for it. It must
never split on a deadlock or a lost link: an outage would become hundreds of bad items.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from daemon.errors import WorkerGone, WorkerNotFresh
from daemon.observe import Observer
from daemon.postgres.database import is_bad_item, passes, sqlstate

Item = TypeVar("Item")
Answer = TypeVar("Answer")

BATCH_LIMIT = 500
BATCH_BYTES = 16 * 1024 * 1024
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
PATIENCE = 30.0
LATE_AFTER = 1.0
TRIES_OF_OUR_OWN = 5


class GroupCommit(Generic[Item, Answer]):
    """One lane of writing. `write` takes a list of items and gives their answers in the same order.

    `weigh` gives an item's bytes, so that no batch is too large; `on_away` hears when the database stops to answer and
    when it answers again; `gives_way` lets other lanes be first.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[Item]], Awaitable[list[Answer]]],
        observer: Observer,
        *,
        weigh: Callable[[Item], int] | None = None,
        on_away: Callable[[bool], None] | None = None,
        gives_way: bool = False,
    ) -> None:
        self.name = name
        self._write = write
        self._observer = observer
        self._weigh = weigh
        self._on_away = on_away
        self._gives_way = gives_way
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()  # asking for it is a system call each time
        self._away_since: float | None = None
        self._writing_since: float | None = None

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Have an item written; its answer comes once it is committed.

        It raises a data error that the item itself is guilty of, and nothing else: whatever else goes wrong is waited
        for. It is not a coroutine: every job waits for two of these.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, answer))
        self._wake.set()
        return answer

    @property
    def away(self) -> bool:
        """Whether the database does not answer at the moment."""
        return self._away_since is not None

    @property
    def late(self) -> bool:
        """Whether the database does not answer, or has not answered the current batch for LATE_AFTER seconds."""
        return self.away or (self._writing_since is not None and time.monotonic() - self._writing_since > LATE_AFTER)

    @property
    def waiting(self) -> int:
        """How many items wait to be written."""
        return len(self._waiting)

    async def run(self) -> None:
        """Write for ever; ends only by cancellation."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._gives_way:  # to lanes that are woken in the same turn of the loop
                await asyncio.sleep(0)
            while self._waiting:
                await self._write_batch(self._next_batch())

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        if self._weigh is None and len(self._waiting) <= BATCH_LIMIT:
            batch = list(self._waiting)
            self._waiting.clear()
            return batch
        batch, weight = [], 0
        while self._waiting and len(batch) < BATCH_LIMIT and weight < BATCH_BYTES:
            item, answer = self._waiting.popleft()
            weight += self._weigh(item) if self._weigh else 0
            batch.append((item, answer))
        return batch

    async def _write_batch(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._until_it_answers([item for item, _ in batch])
        except Exception as error:
            await self._split(batch, error)
            return
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if not waiter.done():
                waiter.set_result(answer)

    async def _split(self, batch: list[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
        if len(batch) == 1:
            self._observer.refused_item(self.name, error)
            if not is_bad_item(error):
                self._put_back(batch[0])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        self._observer.split(self.name, len(batch))
        middle = len(batch) // 2
        await self._write_batch(batch[:middle])
        await self._write_batch(batch[middle:])

    def _put_back(self, pair: tuple[Item, asyncio.Future[Answer]]) -> None:
        """An item that only our own code fails on is kept, behind the others, and tried again after a pause."""

        def wait_again() -> None:
            self._waiting.append(pair)
            self._wake.set()

        self._loop.call_later(LONGEST_PAUSE, wait_again)

    async def _until_it_answers(self, items: list[Item]) -> list[Answer]:
        pause, faults = FIRST_PAUSE, 0
        while True:
            self._writing_since = began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    answers = await self._write(items)
            except Exception as error:
                faults += _is_our_own(error)
                if is_bad_item(error) or faults >= TRIES_OF_OUR_OWN:
                    self._is_away(False)
                    raise
                self._is_away(True)
                self._observer.store_away(self.name, error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            finally:
                self._writing_since = None
            self._is_away(False)
            self._observer.batch(self.name, len(items), time.monotonic() - began)
            return answers

    def _is_away(self, away: bool) -> None:
        if away == (self._away_since is not None):
            return
        if away:
            self._away_since = time.monotonic()
        elif self._away_since is not None:
            self._observer.store_back(self.name, time.monotonic() - self._away_since)
            self._away_since = None
        if self._on_away is not None:
            self._on_away(away)


def _is_our_own(error: Exception) -> bool:
    """Whether an error comes from this program alone: neither the server nor the way to it had a part in it."""
    return sqlstate(error) is None and not passes(error) and not isinstance(error, (WorkerNotFresh, WorkerGone))
