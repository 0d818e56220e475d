"""Group commit: many callers await one item each, one task writes them together.

Everything that waits is written in one transaction, with no timer: at low load a batch is one, at high load it grows by
itself. Used by the store for claims, settlements, progress and checkpoints. A batch that fails by what it holds is
split until only the bad item fails; a batch that fails for a reason that passes is repeated whole, for as long as it
takes. It must never split on a deadlock or a lost link: an outage would become hundreds of bad items.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from daemon.errors import StoreUnavailable, WorkerGone, WorkerNotFresh
from daemon.observe import Observer
from daemon.postgres.database import is_bad_item, passes

Item = TypeVar("Item")
Answer = TypeVar("Answer")

BATCH_LIMIT = 500
BATCH_BYTES = 16 * 1024 * 1024
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
PATIENCE = 30.0
TRIES_OF_THE_UNKNOWN = 5


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

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Have an item written; its answer comes once it is committed.

        It raises a data error that the item itself is guilty of, and StoreUnavailable when the database refused it
        again and again for another reason (a lost privilege, a missing table). It is no coroutine: every job waits for
        two of these.
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
            waiter = batch[0][1]
            if not waiter.done():
                # Only what an item is guilty of itself may be held against it; anything else is the database's trouble.
                waiter.set_exception(error if is_bad_item(error) else _unavailable(error))
            return
        self._observer.split(self.name, len(batch))
        middle = len(batch) // 2
        await self._write_batch(batch[:middle])
        await self._write_batch(batch[middle:])

    async def _until_it_answers(self, items: list[Item]) -> list[Answer]:
        pause, unknown = FIRST_PAUSE, 0
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    answers = await self._write(items)
            except Exception as error:
                if is_bad_item(error):
                    self._is_away(False)
                    raise
                if not (passes(error) or isinstance(error, (WorkerNotFresh, WorkerGone))):
                    unknown += 1
                    if unknown >= TRIES_OF_THE_UNKNOWN:
                        self._is_away(False)
                        raise
                self._is_away(True)
                self._observer.store_away(self.name, error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
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


def _unavailable(error: Exception) -> StoreUnavailable:
    unavailable = StoreUnavailable(f"the database refuses: {error}")
    unavailable.__cause__ = error
    return unavailable
