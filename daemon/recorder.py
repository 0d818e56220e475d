"""Where the progress, notes and checkpoints of a running handler go, and what its context returns to it.

Used by the context; the recorder of a worker is in `postgres/`, that of the testing kit keeps everything in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
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
