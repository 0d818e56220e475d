"""The recorder of a handler in a child process: what it reports goes through the pipe to the worker's recorder.

Made by the child for each job. Progress is sent ten times a second at most; `note` and `save` wait for the worker's
answer, so that their errors are raised where they belong.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future

from daemon.engine.executors.process.messages import Answer, FromChild, Note, Report, Save
from daemon.errors import HeadcountError, TooManyNotes
from daemon.job import Claim, Progress

PROGRESS_SECONDS = 0.1


class PipeRecorder:
    """One job's Recorder. Any thread of the handler calls it; `save` runs on the child's event loop."""

    _calls = itertools.count()  # of all jobs of this child: a late answer must not be taken for another job's

    def __init__(self, send: Callable[[FromChild], None], number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._send = send
        self._number = number
        self._loop = loop
        self._newest: Progress | None = None
        self._lock = threading.Lock()
        self._answers: dict[int, Future[Answer]] = {}
        self._has_room = True

    def progress(self, claim: Claim, progress: Progress) -> None:
        with self._lock:
            is_first, self._newest = self._newest is None, progress
        if is_first:
            self._loop.call_soon_threadsafe(self._loop.call_later, PROGRESS_SECONDS, self.flush)

    def flush(self) -> None:
        """Send the newest progress, if it is not sent yet. Any thread."""
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is not None:
            self._send(Report(self._number, newest))

    def note(self, claim: Claim, text: str) -> bool:
        call, answer = self._asked()
        self._send(Note(self._number, call, text))
        answered = answer.result()
        if answered.refused is not None:
            raise TooManyNotes(answered.refused)
        return answered.full

    def has_room(self, claim: Claim) -> bool:
        return self._has_room

    async def save(self, claim: Claim, checkpoint: str) -> bool:
        call, answer = self._asked()
        self._send(Save(self._number, call, checkpoint))
        answered = await asyncio.wrap_future(answer)
        if answered.refused is not None:
            raise HeadcountError(answered.refused)
        return answered.stored

    def answered(self, answer: Answer) -> None:
        """The worker has answered."""
        if answer.full:  # here, by the thread that reads: a Room that follows must find it
            self._has_room = False
        asked = self._answers.pop(answer.call, None)
        if asked is not None:
            asked.set_result(answer)

    def room(self) -> None:
        """There is room for notes again."""
        self._has_room = True

    def _asked(self) -> tuple[int, Future[Answer]]:
        call: int = next(self._calls)
        answer = self._answers[call] = Future()
        return call, answer
