"""Where the progress, notes, checkpoints and steps of a running handler go, and what its context returns to it.

Used by the context; the recorder of a worker is in `postgres/`, that of the testing kit keeps everything in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Protocol

from daemon.job import Claim, Progress


class Recorder(Protocol):
    """Takes what a handler reports. `progress` and `note` never block; `save` returns when it is stored."""

    def progress(self, claim: Claim, progress: Progress) -> None:
        """Remember the newest progress; it is written within a second."""
        ...

    def note(self, claim: Claim, text: str) -> bool | None:
        """Append a note for the end user; it is written within a second. Raises TooManyNotes.

        True when the attempt should say nothing more before `has_room` is true.
        """
        ...

    def has_room(self, claim: Claim) -> bool:
        """Whether an attempt has fewer unwritten notes than it may have."""
        ...

    async def save(self, claim: Claim, checkpoint: str) -> bool:
        """Store a checkpoint (JSON text); False when the claim is lost."""
        ...


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A durable step of a job: the how manieth of its run it was (from 1), and its result as JSON text.

    `in_transaction`: its effects committed together with its record.
    """

    name: str
    number: int
    result: str
    in_transaction: bool = False


class StepStore(Protocol):
    """Keeps the durable steps of jobs. Whatever writes is under the fence of the claim: False when that is lost."""

    async def recorded(self, claim: Claim) -> list[RecordedStep]:
        """The steps that earlier attempts have recorded."""
        ...

    async def record(self, claim: Claim, step: RecordedStep) -> bool:
        """Store a step; done when it is committed."""
        ...

    async def forget(self, claim: Claim) -> bool:
        """Delete all steps of the job."""
        ...


class StepTransactions(Protocol):
    """Runs steps in transactions that their record is the last statement of; None when the claim is lost.

    `body` gets a connection and gives the result as JSON text. What it and the database raise is raised; then nothing
    has taken effect.
    """

    async def run(self, claim: Claim, name: str, number: int, body: Callable[[object], Awaitable[str]]) -> str | None:
        """On the event loop."""
        ...

    def run_in_thread(self, claim: Claim, name: str, number: int, body: Callable[[object], str]) -> str | None:
        """In a thread of a handler."""
        ...


class Done:
    """An awaitable that is already done: the method works with and without `await`."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class Waiting:
    """An awaitable of a method that has taken effect, and whose caller should wait."""

    def __init__(self, wait: Callable[[], Coroutine[None, None, None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()
