"""What a handler knows about its job and can say while it runs: the second argument of every handler.

Made by the runner for each attempt, for `async def` and plain `def` handlers alike: `progress` and `note` take effect
when they are called; `save` must be awaited in an `async def`, and waits by itself elsewhere.
"""

from __future__ import annotations

import json
import time
from asyncio import AbstractEventLoop, run_coroutine_threadsafe, sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

import structlog
from pydantic import JsonValue

from daemon.durable.context import DurableContext
from daemon.durable.waits import WaitingSteps
from daemon.errors import ClaimLost
from daemon.job import Claim, Progress, StopReason
from daemon.recorder import Done, Recorder, Waiting
from daemon.rules.storable import encode_json, finite, storable_text
from daemon.stop_signal import StopSignal

T = TypeVar("T")
CHECKPOINT_LIMIT = 1024 * 1024
NOTE_LIMIT = 4_000
SAVE_EVERY = 5.0
ROOM_SECONDS = 0.05


class JobContext(DurableContext):
    """One attempt of one job, seen from its handler.

    `attempt` rises with every claim (the fence); `failures` is what counts against max_attempts; `index` of `count`
    is this instance's position in its orchestration.
    """

    def __init__(
        self,
        claim: Claim,
        recorder: Recorder,
        stop: StopSignal,
        loop: AbstractEventLoop,
        thread: int,
        steps: WaitingSteps | None = None,
    ) -> None:
        super().__init__(steps, thread)
        self._claim = claim
        self._recorder = recorder
        self._stop = stop
        self._loop = loop
        self._checkpoint, left = claim.checkpoint, claim.deadline_in
        self._deadline = None if left is None else datetime.now(UTC) + timedelta(seconds=left)

    @property
    def job_id(self) -> UUID:
        """The id of this instance."""
        return self._claim.job_id

    @property
    def orchestration_id(self) -> UUID:
        """The id of the fan-out this instance belongs to."""
        return self._claim.orchestration_id

    @property
    def job_name(self) -> str:
        """The name the handler is registered under."""
        return self._claim.job_name

    @property
    def index(self) -> int:
        """This instance's number, from 0."""
        return self._claim.index

    @property
    def count(self) -> int:
        """How many instances the orchestration has."""
        return self._claim.count

    @property
    def attempt(self) -> int:
        """The number of this claim, from 1; interruptions and lost workers raise it too."""
        return self._claim.attempt

    @property
    def failures(self) -> int:
        """How many attempts have failed so far: what counts against max_attempts."""
        return self._claim.failures

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of the orchestration."""
        return self._claim.tags

    @property
    def deadline(self) -> datetime | None:
        """When the orchestration gives up on unfinished instances (UTC), if ever."""
        return self._deadline

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt of this job: give it to services that take one."""
        return str(self._claim.job_id)

    @property
    def should_stop(self) -> bool:
        """Whether the worker wants this handler to end soon: save what you have and return by `stop_point`."""
        return self._stop.reason is not None

    @property
    def stop_reason(self) -> StopReason | None:
        """Why it should stop, or None."""
        return self._stop.reason

    @property
    def log(self) -> structlog.typing.FilteringBoundLogger:
        """A logger that names this job on each line."""
        ids = {"orchestration_id": str(self.orchestration_id), "job_id": str(self.job_id)}
        logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("headcount.handler").bind(
            **ids, job_name=self.job_name, attempt=self.attempt
        )
        return logger

    @property
    def checkpoint(self) -> JsonValue:
        """What the last `save` of this job stored, in this attempt or an earlier one; None at first."""
        if self._checkpoint is None:
            return None
        cursor: JsonValue = json.loads(self._checkpoint)
        return cursor

    def stop_point(self) -> None:
        """End the attempt here if the worker wants it to stop: raises Stopped. The job goes on elsewhere."""
        self._stop.raise_if_set()

    def wait_stop(self, seconds: float) -> bool:
        """In a plain `def` handler: pause for `seconds`, or shorter if a stop is asked for; True if it was."""
        return self._stop.wait(seconds)

    def progress(
        self, current: float | None, total: float | None = None, message: str | None = None
    ) -> Awaitable[None]:
        """Say how far the job is. Never blocks; many calls within a second become one write.

        Any number will do; NaN and infinity say nothing. Raises TypeError or ValueError for what is not a number.
        """
        text = None if message is None else storable_text(str(message), NOTE_LIMIT)
        self._recorder.progress(self._claim, Progress(finite(current), finite(total), text))
        return Done()

    def note(self, text: str) -> Awaitable[None]:
        """Add a line for the end user, kept in order. It is written within a second, and before the job ends.

        Up to 1,000 notes or 256 kB of a job wait to be written. With more, while the database does not answer, this
        waits (so await it); Stopped goes through. Raises TooManyNotes when the job is simply faster than the database.
        """
        if not self._recorder.note(self._claim, storable_text(str(text), NOTE_LIMIT)):
            return Done()
        return Waiting(self._room) if self.on_event_loop else self._finish(self._room())

    def save(self, cursor: object) -> Awaitable[None]:
        """Store a checkpoint (any JSON value of up to 1 MiB); done when it is committed.

        Raises ResultNotStorable for a value that can't be stored, ClaimLost when another worker owns the job now, and
        Stopped, after storing, when the worker wants the handler to stop.
        """
        return self._finish(self._save(encode_json(cursor, CHECKPOINT_LIMIT)))

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """This instance's share of `items`: every count-th one from index on."""
        return items[self.index :: self.count]

    def global_id(self, local: int, stride: int) -> int:
        """A deterministic id that no other instance gives: index * stride + local, for 0 <= local < stride."""
        if not 0 <= local < stride:
            raise ValueError(f"local must be in 0..{stride - 1}, not {local}")
        return self.index * stride + local

    def track(
        self, items: Sequence[T], message: Callable[[T], str] | None = None, save_every: float = SAVE_EVERY
    ) -> Track[T]:
        """Loop over `items` with progress, stop points and a cursor in one: `async for` or plain `for`.

        An interrupted job goes on with the first item whose turn had not ended. The cursor is this job's checkpoint,
        stored every `save_every` seconds and at a stop; a handler that tracks can't `save` something else.
        """
        return Track(self, items, message, save_every)

    async def _save(self, text: str) -> None:
        if not await self._recorder.save(self._claim, text):
            self._stop.set(StopReason.CLAIM_LOST)
            raise ClaimLost(f"attempt {self.attempt} of job {self.job_id} lost its claim")
        self._checkpoint = text
        self.stop_point()

    async def _room(self) -> None:
        while not self._recorder.has_room(self._claim):
            self.stop_point()
            await sleep(ROOM_SECONDS)

    def _finish(self, saving: Coroutine[None, None, None]) -> Awaitable[None]:
        if self.on_event_loop:
            return saving
        run_coroutine_threadsafe(saving, self._loop).result()
        return Done()


class Track(Generic[T]):
    """The loop of `JobContext.track`, usable from async and plain handlers alike."""

    def __init__(
        self, ctx: JobContext, items: Sequence[T], message: Callable[[T], str] | None, save_every: float
    ) -> None:
        self._ctx = ctx
        self._items = items
        self._message = message
        self._save_every = save_every
        self._saved_at = time.monotonic()
        cursor = ctx.checkpoint
        self._next = cursor if isinstance(cursor, int) and 0 <= cursor <= len(items) else 0

    async def __aiter__(self) -> AsyncIterator[T]:
        for position in range(self._next, len(self._items)):
            if self._must_save(position):
                await self._ctx.save(position)
            self._say(position)
            yield self._items[position]
        self._ctx.progress(len(self._items), len(self._items))

    def __iter__(self) -> Iterator[T]:
        if self._ctx.on_event_loop:
            raise TypeError("an async handler tracks with `async for`: a plain `for` could not wait for its cursor")
        for position in range(self._next, len(self._items)):
            if self._must_save(position):
                self._ctx.save(position)
            self._say(position)
            yield self._items[position]
        self._ctx.progress(len(self._items), len(self._items))

    def _say(self, position: int) -> None:
        text = self._message(self._items[position]) if self._message else None
        self._ctx.progress(position, len(self._items), text)

    def _must_save(self, position: int) -> bool:
        due = time.monotonic() - self._saved_at >= self._save_every
        if position > self._next and (due or self._ctx.should_stop):
            self._saved_at = time.monotonic()
            return True
        if self._ctx.should_stop:
            self._ctx.stop_point()
        return False
