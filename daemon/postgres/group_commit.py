"""Group commit: many callers await one item each, one task writes them together.

Everything that waits is written in one transaction, with no timer: at low load a batch is one, at high load it grows by
itself. Used by the store for claims, settlements, rejections, progress, notes and checkpoints. A batch that fails by
what it holds is split until only the bad item fails; any other failure (an outage, a missing table, a lost privilege)
is repeated whole, for as long as it takes, and counts as the database being unavailable: no item is dropped for it. It
must never split on a deadlock or a lost connection: an outage would become hundreds of bad items.
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
WRITE_TIMEOUT = 30.0
SLOW_AFTER = 1.0
OWN_ERRORS_LIMIT = 5


class GroupCommit(Generic[Item, Answer]):
    """One operation's writes. `write` takes a list of items and gives their answers in the same order.

    `size_of` gives an item's bytes, so that no batch is too large; `on_unavailable` is called with True when the
    database stops to answer, and with False when it answers again; `low_priority` lets other operations be first.
    """

    def __init__(
        self,
        operation: str,
        write: Callable[[list[Item]], Awaitable[list[Answer]]],
        observer: Observer,
        *,
        size_of: Callable[[Item], int] | None = None,
        on_unavailable: Callable[[bool], None] = lambda _unavailable: None,
        low_priority: bool = False,
    ) -> None:
        self.operation = operation
        self._write = write
        self._observer = observer
        self._size_of = size_of
        self._on_unavailable = on_unavailable
        self._low_priority = low_priority
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()  # asking for it is a system call each time
        self._unavailable_since: float | None = None
        self._writing_since: float | None = None

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Have an item written; its answer comes once it is committed.

        It raises a data error that is the item's own fault, and nothing else: whatever else goes wrong is waited for.
        It is not a coroutine: every job waits for two of these.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((item, answer))
        self._wake.set()
        return answer

    @property
    def unavailable(self) -> bool:
        """Whether the database does not answer at the moment."""
        return self._unavailable_since is not None

    @property
    def slow(self) -> bool:
        """Whether the database does not answer, or has not answered the current batch for SLOW_AFTER seconds."""
        since = self._writing_since
        return self.unavailable or (since is not None and time.monotonic() - since > SLOW_AFTER)

    @property
    def waiting(self) -> int:
        """How many items wait to be written."""
        return len(self._waiting)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._low_priority:  # to operations that are woken in the same turn of the loop
                await asyncio.sleep(0)
            while self._waiting:
                await self._write_batch(self._next_batch())

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        size = 0
        while self._waiting and len(batch) < BATCH_LIMIT and size < BATCH_BYTES:
            item, answer = self._waiting.popleft()
            size += self._size_of(item) if self._size_of else 0
            batch.append((item, answer))
        return batch

    async def _write_batch(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._write_with_retry([item for item, _ in batch])
        except Exception as error:
            await self._split(batch, error)
            return
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if not waiter.done():
                waiter.set_result(answer)

    async def _split(self, batch: list[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
        if len(batch) == 1:
            self._observer.item_rejected(self.operation, error)
            if not is_bad_item(error):
                # An item that only our own code fails on is kept, behind the others, and tried again after a pause.
                self._loop.call_later(LONGEST_PAUSE, self._wait_again, batch[0])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        self._observer.batch_split(self.operation, len(batch))
        middle = len(batch) // 2
        await self._write_batch(batch[:middle])
        await self._write_batch(batch[middle:])

    def _wait_again(self, pair: tuple[Item, asyncio.Future[Answer]]) -> None:
        self._waiting.append(pair)
        self._wake.set()

    async def _write_with_retry(self, items: list[Item]) -> list[Answer]:
        pause, own_errors = FIRST_PAUSE, 0
        while True:
            self._writing_since = began = time.monotonic()
            try:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    answers = await self._write(items)
            except Exception as error:
                own_errors += _is_our_own(error)
                if is_bad_item(error) or own_errors >= OWN_ERRORS_LIMIT:
                    self._set_unavailable(False)
                    raise
                self._set_unavailable(True)
                self._observer.database_unavailable(self.operation, error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            finally:
                self._writing_since = None
            self._set_unavailable(False)
            self._observer.batch_committed(self.operation, len(items), time.monotonic() - began)
            return answers

    def _set_unavailable(self, unavailable: bool) -> None:
        since = self._unavailable_since
        if unavailable == (since is not None):
            return
        self._unavailable_since = time.monotonic() if unavailable else None
        if since is not None:
            self._observer.database_available(self.operation, time.monotonic() - since)
        self._on_unavailable(unavailable)


def _is_our_own(error: Exception) -> bool:
    """Whether an error comes from this program alone: neither the server nor the way to it had a part in it."""
    return sqlstate(error) is None and not passes(error) and not isinstance(error, (WorkerNotFresh, WorkerGone))
